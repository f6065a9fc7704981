//! A JSON object taken apart field by field, so that each mistake gets its
//! own code and a sentence that names the field.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{Bad, BadCode, quoted};

pub(crate) struct Fields {
    /// What the object is, for messages: "an instance".
    what: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    pub(crate) fn parse(what: &'static str, raw: &[u8]) -> Result<Self, Bad> {
        let map = json_object(what, raw)?;
        Ok(Self { what, map })
    }

    pub(crate) fn from_value(what: &'static str, value: Value) -> Result<Self, Bad> {
        let map = json_map(what, value)?;
        Ok(Self { what, map })
    }

    /// Takes a field out; JSON's `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|v| !v.is_null())
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<Value, Bad> {
        self.take(name).ok_or_else(|| {
            let what = self.what;
            Bad::new(
                BadCode::MissingField,
                format!("{what} needs the field \"{name}\""),
            )
            .field(name)
        })
    }

    pub(crate) fn take_string(&mut self, name: &str) -> Result<Option<String>, Bad> {
        self.take(name).map(|v| string(name, v)).transpose()
    }

    pub(crate) fn require_string(&mut self, name: &str) -> Result<String, Bad> {
        self.require(name).and_then(|v| string(name, v))
    }

    /// Takes a field that is an object or the like: `read` names what is
    /// wrong by fields of that.
    pub(crate) fn take_nested<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(Value) -> Result<T, Bad>,
    ) -> Result<Option<T>, Bad> {
        let taken = self.take(name).map(read).transpose();
        taken.map_err(|bad| bad.within(name))
    }

    /// Ends the taking apart: a field that is left is one nobody knows.
    pub(crate) fn finish(self, accepted: &str) -> Result<(), Bad> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(Bad::new(
                BadCode::UnknownField,
                format!(
                    "{} has no field {}{}; it has {accepted}",
                    self.what,
                    quoted(name),
                    meant(name, accepted)
                ),
            )
            .field(name)),
        }
    }
}

/// The accepted field that was most likely meant, as a question.
fn meant(name: &str, accepted: &str) -> String {
    let words = accepted.split(|c: char| !c.is_alphanumeric() && c != '_');
    let words = words.filter(|word| !matches!(*word, "" | "or" | "and"));
    let name: String = name.chars().take(80).collect();
    let nearest = words
        .map(|word| (strsim::damerau_levenshtein(&name, word), word))
        .min();
    match nearest {
        Some((distance, word)) if distance <= 1 + word.len() / 4 => {
            format!(" (did you mean {word:?}?)")
        }
        _ => String::new(),
    }
}

/// A JSON object; refused if it, or an object in it, has a field twice.
pub fn json_object(what: &str, raw: &[u8]) -> Result<Map<String, Value>, Bad> {
    let Unambiguous(value) = serde_json::from_slice(raw)
        .map_err(|e| Bad::new(BadCode::BadJson, format!("{what} is not valid JSON: {e}")))?;
    json_map(what, value)
}

/// The fields of a value that must be an object.
pub(crate) fn json_map(what: &str, value: Value) -> Result<Map<String, Value>, Bad> {
    match value {
        Value::Object(map) => Ok(map),
        other => Err(Bad::new(
            BadCode::BadJson,
            format!("{what} must be a JSON object, not {}", kind(&other)),
        )),
    }
}

pub(crate) fn string(name: &str, value: Value) -> Result<String, Bad> {
    match value {
        Value::String(s) => Ok(s),
        other => Err(Bad::new(
            BadCode::BadValue,
            format!("\"{name}\" must be a string, not {}", kind(&other)),
        )
        .field(name)),
    }
}

/// The JSON type of a value, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value in which no object has a field twice. Of such fields, serde_json's
/// own value keeps the last, and other readers the first.
struct Unambiguous(Value);

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(UnambiguousVisitor).map(Self)
    }
}

struct UnambiguousVisitor;

impl<'de> Visitor<'de> for UnambiguousVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Unambiguous(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Unambiguous(value))) = fields.next_entry::<String, _>()? {
            if map.contains_key(&name) {
                let why = format!("the field {} is there twice", quoted(&name));
                return Err(de::Error::custom(why));
            }
            map.insert(name, value);
        }
        Ok(map.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_field_that_was_meant_is_suggested() {
        let refusal = |name: &str| {
            let fields = Fields::from_value("a thing", json!({ name: 1 })).unwrap();
            fields
                .finish("addr, retry_5xx or health_check")
                .unwrap_err()
                .detail
        };
        for (name, detail) in [
            ("retry_5x", "did you mean \"retry_5xx\"?"),
            ("adr", "did you mean \"addr\"?"),
            ("health-check", "did you mean \"health_check\"?"),
        ] {
            assert!(refusal(name).contains(detail), "{}", refusal(name));
        }
        assert!(!refusal("zone").contains("mean"), "{}", refusal("zone"));
    }
}
