//! The documents that `apply` takes: all of them are read, and all their
//! mistakes told, before an agent is asked.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use pointsman_model::{AppName, Bad, Host, InstanceId, Key};
use serde_json::Value;

use crate::around::CommandError;
use crate::object::{ObjectFields, canonical, title};
use crate::yaml;

const KINDS: [&str; 4] = ["Route", "App", "Instance", "Settings"];

/// An object as a file has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Declared {
    pub(crate) key: Key,
    pub(crate) fields: ObjectFields,
    /// `shop.yaml, document 2, line 7`.
    pub(crate) place: String,
}

/// The objects of all files; `-` is standard input.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Declared>, CommandError> {
    let (mut declared, mut mistakes) = (Vec::new(), Vec::new());
    for path in paths {
        let name = match path.as_os_str() == "-" {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        match text(path) {
            Ok(text) => objects(&name, &text, &mut declared, &mut mistakes),
            Err(error) => mistakes.push(format!("{name} cannot be read: {error}")),
        }
    }
    repeated(&declared, &mut mistakes);
    match mistakes.len() {
        0 => Ok(declared),
        1 => Err(CommandError::Refused(mistakes.remove(0))),
        n => {
            let mistakes = mistakes.join("\n  ");
            let complaint = format!("{n} mistakes; nothing was applied:\n  {mistakes}");
            Err(CommandError::Refused(complaint))
        }
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path);
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

fn objects(file: &str, text: &str, declared: &mut Vec<Declared>, mistakes: &mut Vec<String>) {
    let documents = match yaml::documents(text) {
        Ok(documents) => documents,
        Err(malformed) => {
            let (line, reason) = (malformed.line, malformed.reason);
            return mistakes.push(format!("{file}, line {line}: {reason}"));
        }
    };
    let is_one = documents.len() == 1;
    for (n, document) in documents.iter().enumerate() {
        let mut take = |value: &Value, item: &str| {
            let place = |field: &str| {
                let line = document.line(&format!("{item}{field}"));
                match is_one {
                    true => format!("{file}, line {line}"),
                    false => format!("{file}, document {}, line {line}", n + 1),
                }
            };
            match object(value) {
                Ok((key, fields)) => declared.push(Declared {
                    key,
                    fields,
                    place: place(""),
                }),
                Err((field, reason)) => mistakes.push(format!("{}: {reason}", place(&field))),
            }
        };
        match &document.value {
            // As `export -o json` has them.
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    take(item, &format!("[{at}]."));
                }
            }
            one => take(one, ""),
        }
    }
}

/// A key and its fields, or the field that is wrong and why.
fn object(value: &Value) -> Result<(Key, ObjectFields), (String, String)> {
    let Value::Object(mut fields) = value.clone() else {
        let reason = "a document must have fields: kind, and those of its kind";
        return Err((String::new(), reason.to_owned()));
    };
    let kind = name(&mut fields, "kind")?;
    let named = |field: &str, bad: Bad| (field.to_owned(), bad.detail);
    let key = match kind.as_str() {
        "Route" => {
            let host = Host::from_user(&name(&mut fields, "host")?);
            Key::Route(host.map_err(|bad| named("host", bad))?)
        }
        "App" => {
            let app = AppName::new(&name(&mut fields, "app")?);
            Key::App(app.map_err(|bad| named("app", bad))?)
        }
        "Instance" => {
            let app = AppName::new(&name(&mut fields, "app")?);
            let id = InstanceId::new(&name(&mut fields, "id")?);
            let app = app.map_err(|bad| named("app", bad))?;
            Key::Instance(app, id.map_err(|bad| named("id", bad))?)
        }
        "Settings" => Key::Settings,
        other => {
            let near = |kind: &&str| {
                strsim::damerau_levenshtein(&kind.to_lowercase(), &other.to_lowercase())
            };
            let nearest = KINDS.iter().min_by_key(|kind| near(kind));
            let nearest = nearest.filter(|kind| near(kind) <= 2);
            let meant = nearest.map(|kind| format!(" (did you mean {kind}?)"));
            let (meant, kinds) = (meant.unwrap_or_default(), KINDS.join(", "));
            let reason = format!("there is no kind {other:?}{meant}; there are {kinds}");
            return Err(("kind".to_owned(), reason));
        }
    };
    match canonical(&key, &fields) {
        Ok(fields) => Ok((key, fields)),
        Err(bad) => {
            let field = bad.field.map(String::from).unwrap_or_default();
            Err((field, bad.detail))
        }
    }
}

/// A field that is a name, taken out.
fn name(fields: &mut ObjectFields, field: &str) -> Result<String, (String, String)> {
    match fields.remove(field) {
        Some(Value::String(name)) => Ok(name),
        // `id: 7` is an id, too.
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err((field.to_owned(), format!("{field:?} must be a text"))),
        None => {
            let more = match field {
                "kind" => format!(", one of {}", KINDS.join(", ")),
                _ => String::new(),
            };
            Err((
                String::new(),
                format!("the field {field:?} is missing{more}"),
            ))
        }
    }
}

fn repeated(declared: &[Declared], mistakes: &mut Vec<String>) {
    let mut seen: BTreeMap<&Key, &str> = BTreeMap::new();
    for Declared { key, place, .. } in declared {
        if let Some(first) = seen.insert(key, place) {
            let title = title(key);
            mistakes.push(format!("{place}: the {title} is there already: {first}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read_text(text: &str) -> (Vec<Declared>, Vec<String>) {
        let (mut declared, mut mistakes) = (Vec::new(), Vec::new());
        objects("shop.yaml", text, &mut declared, &mut mistakes);
        repeated(&declared, &mut mistakes);
        (declared, mistakes)
    }

    #[test]
    fn documents_become_objects() {
        let text = "kind: Route\nhost: Shop.Test\napp: shop\n---\nkind: App\napp: shop\nretries: 2\n\
                    ---\nkind: Instance\napp: shop\nid: 7\naddr: 10.0.0.5:80\n---\n- kind: Settings\n";
        let (declared, mistakes) = read_text(text);
        assert_eq!(mistakes, [""; 0]);
        let keys: Vec<_> = declared.iter().map(|d| d.key.to_string()).collect();
        let expected = [
            "routes/shop.test",
            "apps/shop",
            "instances/shop/7",
            "settings",
        ];
        assert_eq!(keys, expected);
        assert_eq!(
            Value::from(declared[1].fields.clone()),
            json!({ "retries": 2 })
        );
        assert_eq!(declared[2].place, "shop.yaml, document 3, line 9");
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        let text = "kind: App\napp: shop\nhealth_check:\n  path: /up\n  interval: 0s\n---\n\
                    kind: Rout\n---\nkind: Route\napp: shop\n---\nkind: App\napp: shop\n\
                    retrys: 2\n---\nkind: App\napp: blog\n---\nkind: App\napp: blog\n---\n- a\n";
        let (_, mistakes) = read_text(text);
        for (mistake, (place, reason)) in mistakes.iter().zip([
            ("shop.yaml, document 1, line 5: ", "interval"),
            ("shop.yaml, document 2, line 7: ", "did you mean Route?"),
            ("shop.yaml, document 3, line 9: ", "\"host\" is missing"),
            (
                "shop.yaml, document 4, line 14: ",
                "did you mean \"retries\"?",
            ),
            ("shop.yaml, document 7, line 22: ", "must have fields"),
            (
                "shop.yaml, document 6, line 19: ",
                "shop.yaml, document 5, line 16",
            ),
        ]) {
            assert!(mistake.starts_with(place), "{mistake}");
            assert!(mistake.contains(reason), "{mistake}");
        }
        assert_eq!(mistakes.len(), 6);
        let (_, mistakes) = read_text("kind: App\napp: [");
        assert!(
            mistakes[0].starts_with("shop.yaml, line 2: "),
            "{mistakes:?}"
        );
    }
}
