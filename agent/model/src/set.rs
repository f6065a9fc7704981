//! What was applied together, under a name: so that whoever applies the set
//! again, on whatever machine, knows what is no longer in it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::fields::Fields;
use super::{Bad, BadCode, Key, quoted};

/// The value of a key `sets/<set>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectSet {
    /// Routes, apps, instances and settings, by their keys.
    pub members: BTreeSet<Key>,
}

impl ObjectSet {
    /// Reads a value, as in etcd or in a request to the API.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields::parse("a set", raw)?;
        let members = fields.require("members")?;
        fields.finish("members")?;
        let Value::Array(members) = members else {
            let detail = "\"members\" must be an array of keys like \"routes/shop.example.com\"";
            return Err(Bad::new(BadCode::BadValue, detail).field("members"));
        };
        let members = members.iter().enumerate();
        let members = members.map(|(n, member)| {
            let key = member.as_str().and_then(|text| Key::parse(text).ok());
            key.filter(is_object).ok_or_else(|| {
                let detail = format!(
                    "a member must be a key like \"routes/shop.example.com\", \"apps/shop\", \
                     \"instances/shop/shop-1\" or \"settings\", not {}",
                    quoted(&member.to_string())
                );
                Bad::new(BadCode::BadValue, detail).field(&format!("members[{n}]"))
            })
        });
        Ok(Self {
            members: members.collect::<Result<_, _>>()?,
        })
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        let members = self.members.iter().map(ToString::to_string);
        json!({ "members": members.collect::<Vec<_>>() }).to_string()
    }
}

/// Whether it is one of the kinds that people write.
fn is_object(key: &Key) -> bool {
    matches!(
        key,
        Key::Route(_) | Key::App(_) | Key::Instance(..) | Key::Settings
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_keys_of_objects_in_one_order() {
        let raw =
            br#"{"members":["settings","apps/b","routes/*.x.test","apps/b","instances/b/1"]}"#;
        let set = ObjectSet::from_value(raw).unwrap();
        let kept = r#"{"members":["routes/*.x.test","apps/b","instances/b/1","settings"]}"#;
        assert_eq!(set.to_value(), kept);
        assert_eq!(ObjectSet::from_value(kept.as_bytes()), Ok(set));
        for (raw, field) in [
            (r#"{"members":["apps/b","edges/e"]}"#, "members[1]"),
            (r#"{"members":["apps/B"]}"#, "members[0]"),
            (r#"{"members":[7]}"#, "members[0]"),
            (r#"{"members":"apps/b"}"#, "members"),
            (r#"{}"#, "members"),
            (r#"{"members":[],"x":1}"#, "x"),
        ] {
            let bad = ObjectSet::from_value(raw.as_bytes()).unwrap_err();
            assert_eq!(bad.field.as_deref(), Some(field), "{raw}");
        }
    }
}
