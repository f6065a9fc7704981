//! `field=value` on the command line: a field by its path, and what it becomes.

use pointsman_model::{Bad, Key};
use serde_json::{Map, Value, json};

use crate::object::{ObjectFields, canonical};

/// A change of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Assignment {
    /// As it was given: `rules[0].to[1].weight`.
    path: String,
    /// Nothing: the field is removed.
    value: Option<Value>,
    /// The value as it was given, for a field that takes a text.
    text: String,
}

impl Assignment {
    /// Reads `field=value` or `field=`. A value that is JSON is taken as such
    /// and any other as a text.
    pub fn new(text: &str) -> Result<Self, String> {
        let (path, value) = text
            .split_once('=')
            .filter(|(path, _)| !path.is_empty())
            .ok_or_else(|| {
                format!("{text:?} is not a change: give FIELD=VALUE, or FIELD= to remove the field")
            })?;
        let json = || serde_json::from_str(value).unwrap_or_else(|_| value.into());
        Ok(Self {
            path: path.to_owned(),
            value: (!value.is_empty()).then(json),
            text: value.to_owned(),
        })
    }

    fn steps(&self) -> Vec<String> {
        let dotted = self.path.replace('[', ".").replace(']', "");
        dotted.split('.').map(str::to_owned).collect()
    }
}

/// The object with the changes made, in canonical form.
pub(crate) fn assigned(
    key: &Key,
    before: &ObjectFields,
    changes: &[Assignment],
) -> Result<ObjectFields, String> {
    let mut fields = before.clone();
    for change in changes {
        prepare(key, &mut fields, change);
        let mut object = Value::Object(fields);
        put(&mut object, &change.steps(), change.value.as_ref())
            .map_err(|reason| format!("{}: {reason}", change.path))?;
        fields = object.as_object().cloned().unwrap_or_default();
    }
    match canonical(key, &fields) {
        Ok(fields) => Ok(fields),
        Err(bad) => as_text(key, fields, changes, &bad).ok_or(bad.detail),
    }
}

/// A route has either an app or rules: whoever sets one means it instead of the
/// other, or a field of it.
fn prepare(key: &Key, fields: &mut ObjectFields, change: &Assignment) {
    let Key::Route(_) = key else { return };
    match change.steps()[0].as_str() {
        "app" => drop(fields.remove("rules")),
        "rules" => {
            if let Some(app) = fields.remove("app") {
                fields.insert("rules".to_owned(), json!([{ "to": [{ "app": app }] }]));
            }
        }
        _ => {}
    }
}

/// What looks like a number may be meant as a text: if the field that is refused
/// is one of those that were set, its text is tried.
fn as_text(
    key: &Key,
    fields: ObjectFields,
    changes: &[Assignment],
    bad: &Bad,
) -> Option<ObjectFields> {
    let field = bad.field.as_deref()?;
    let steps = |path: &str| path.replace('[', ".").replace(']', "");
    let mut changes = changes.iter().rev();
    let change = changes.find(|change| steps(&change.path) == steps(field))?;
    if !matches!(change.value, Some(Value::Number(_) | Value::Bool(_))) {
        return None;
    }
    let mut object = Value::Object(fields);
    let text = Value::String(change.text.clone());
    put(&mut object, &change.steps(), Some(&text)).ok()?;
    canonical(key, object.as_object()?).ok()
}

fn put(place: &mut Value, steps: &[String], value: Option<&Value>) -> Result<(), String> {
    let Some((step, rest)) = steps.split_first() else {
        *place = value.cloned().unwrap_or(Value::Null);
        return Ok(());
    };
    // What is not there is made, where something is to be put into it.
    if place.is_null() && value.is_some() {
        *place = match step.as_str() {
            "0" => json!([]),
            _ => Map::new().into(),
        };
    }
    match place {
        Value::Object(fields) if rest.is_empty() && value.is_none() => {
            fields.shift_remove(step);
            Ok(())
        }
        Value::Object(fields) => put(
            fields.entry(step.as_str()).or_insert(Value::Null),
            rest,
            value,
        ),
        Value::Array(items) => {
            let count = items.len();
            let at = step.parse::<usize>().ok();
            let at = at.filter(|at| *at < count || (*at == count && value.is_some()));
            let at = at.ok_or_else(|| {
                format!("it has {count} items, and {step:?} is none of them (the first is 0)")
            })?;
            if rest.is_empty() && value.is_none() {
                items.remove(at);
                return Ok(());
            }
            if at == count {
                items.push(Value::Null);
            }
            put(&mut items[at], rest, value)
        }
        // Nothing is there to be removed.
        Value::Null => Ok(()),
        _ => Err(format!("what it lies in has no fields, so no {step:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(key: &str, before: Value, changes: &[&str]) -> Result<Value, String> {
        let changes: Result<Vec<_>, _> = changes.iter().map(|c| Assignment::new(c)).collect();
        let before = before.as_object().cloned().unwrap();
        let key = Key::parse(key).unwrap();
        assigned(&key, &before, &changes?).map(Value::from)
    }

    #[test]
    fn named_fields_are_changed_and_no_others() {
        let before = json!({"retries": 1, "health_check": {"path": "/up", "interval": "5s"}});
        let changes = ["retries=2", "health_check.path=/live", "balance=least_conn"];
        let after = set("apps/shop", before.clone(), &changes).unwrap();
        let health_check = json!({"type": "http", "interval": "5s", "path": "/live"});
        assert_eq!(after["retries"], 2);
        assert_eq!(after["balance"], "least_conn");
        for field in ["path", "interval"] {
            assert_eq!(after["health_check"][field], health_check[field], "{after}");
        }
        let after = set(
            "apps/shop",
            before.clone(),
            &["health_check=", "max_conns="],
        );
        assert_eq!(after.unwrap(), json!({ "retries": 1 }));
        let after = set("apps/shop", json!({}), &["health_check.type=tcp"]).unwrap();
        assert_eq!(after["health_check"]["type"], "tcp");
        let after = set("apps/shop", before, &[r#"fail_on=["5xx"]"#]).unwrap();
        assert_eq!(after["fail_on"], json!(["5xx"]));
    }

    #[test]
    fn an_app_takes_the_place_of_rules_and_a_rule_that_of_an_app() {
        let before = json!({"rules": [{"path": "/x", "to": [{"app": "a"}]}]});
        let after = set("routes/x.test", before, &["app=b"]).unwrap();
        assert_eq!(after, json!({ "app": "b" }));
        let changes = [
            "rules[0].to[0].weight=90",
            "rules[0].to[1]={\"app\":\"c\",\"weight\":10}",
        ];
        let after = set("routes/x.test", after, &changes).unwrap();
        let to = json!([{"app": "b", "weight": 90}, {"app": "c", "weight": 10}]);
        assert_eq!(after, json!({"rules": [{"path": "/", "to": to}]}));
        let after = set("routes/x.test", after, &["rules.0.to.1="]).unwrap();
        assert_eq!(after, json!({ "app": "b" }), "alone, it has all");
    }

    #[test]
    fn a_text_that_looks_like_a_number_is_a_text_where_one_is_wanted() {
        let before = json!({ "addr": "10.0.0.5:80" });
        let after = set("instances/shop/a", before, &["zone=1", "weight=3"]).unwrap();
        let expected = json!({"addr": "10.0.0.5:80", "weight": 3, "zone": "1"});
        assert_eq!(after, expected);
    }

    #[test]
    fn mistakes_say_what_is_wrong() {
        let before = json!({"rules": [{"path": "/", "to": [{"app": "a"}]}]});
        for (key, changes, reason) in [
            ("apps/shop", "retries", "FIELD=VALUE"),
            ("apps/shop", "retrys=2", "did you mean \"retries\"?"),
            ("apps/shop", "retries=x", "retries"),
            ("routes/x.test", "rules[2].path=/", "has 1 items"),
            ("routes/x.test", "rules[0].path.x=1", "no fields"),
        ] {
            let error = set(key, before.clone(), &[changes]).unwrap_err();
            let error = match key {
                "apps/shop" => set(key, json!({}), &[changes]).unwrap_err(),
                _ => error,
            };
            assert!(error.contains(reason), "{changes}: {error}");
        }
    }
}
