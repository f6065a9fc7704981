//! YAML: documents with the line of each field, so that a mistake is found where
//! it stands; and values written so that they are read back the same. JSON is
//! read as the YAML that it is.

use std::collections::BTreeMap;

use saphyr::{LoadableYamlNode as _, MarkedYaml, Scalar, Yaml, YamlData, YamlEmitter};
use serde_json::{Map, Number, Value};

/// A document of a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Document {
    pub(crate) value: Value,
    /// Where it begins, from 1.
    line: usize,
    /// Where each field stands: `rules[1].to[0].weight`.
    lines: BTreeMap<String, usize>,
}

impl Document {
    /// The line of a field, or of what it lies in.
    pub(crate) fn line(&self, field: &str) -> usize {
        let mut place = field;
        loop {
            if let Some(line) = self.lines.get(place) {
                return *line;
            }
            match place.rfind(['.', '[']) {
                Some(end) => place = &place[..end],
                None => return self.line,
            }
        }
    }
}

/// What is wrong with a text, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// The documents of a text; empty ones are left out.
pub(crate) fn documents(text: &str) -> Result<Vec<Document>, Malformed> {
    let nodes = MarkedYaml::load_from_str(text).map_err(|error| Malformed {
        // An end that comes too early stands behind the last line.
        line: error.marker().line().min(text.lines().count()),
        reason: error.info().to_owned(),
    });
    let nodes = match nodes {
        Ok(nodes) => nodes,
        // What JSON has and YAML has not: surrogates, tabs in front of a field.
        Err(malformed) => {
            let object = pointsman_model::json_object("it", text.as_bytes());
            let value = object.map_err(|_| malformed)?.into();
            let (line, lines) = (1, BTreeMap::new());
            return Ok(vec![Document { value, line, lines }]);
        }
    };
    let documents = nodes.iter().filter_map(|node| {
        let mut lines = BTreeMap::new();
        match json(node, "", &mut lines) {
            Ok(Value::Null) => None,
            Ok(value) => Some(Ok(Document {
                value,
                line: node.span.start.line(),
                lines,
            })),
            Err(malformed) => Some(Err(malformed)),
        }
    });
    documents.collect()
}

fn json(
    node: &MarkedYaml<'_>,
    place: &str,
    lines: &mut BTreeMap<String, usize>,
) -> Result<Value, Malformed> {
    let line = node.span.start.line();
    let malformed = |reason: &str| Malformed {
        line,
        reason: reason.to_owned(),
    };
    // A field's line is that of its name.
    lines.entry(place.to_owned()).or_insert(line);
    Ok(match &node.data {
        YamlData::Value(Scalar::Null) => Value::Null,
        YamlData::Value(Scalar::Boolean(value)) => (*value).into(),
        YamlData::Value(Scalar::Integer(value)) => (*value).into(),
        YamlData::Value(Scalar::FloatingPoint(value)) => {
            let number = Number::from_f64(value.0);
            number
                .ok_or_else(|| malformed("a number must be finite"))?
                .into()
        }
        YamlData::Value(Scalar::String(value)) => value.as_ref().into(),
        YamlData::Sequence(items) => {
            let items = items.iter().enumerate();
            let items = items.map(|(n, item)| json(item, &format!("{place}[{n}]"), lines));
            items.collect::<Result<_, _>>()?
        }
        YamlData::Mapping(fields) => {
            let mut map = Map::new();
            for (name, value) in fields {
                let name_line = name.span.start.line();
                let name = match &name.data {
                    YamlData::Value(Scalar::String(name)) => name.to_string(),
                    YamlData::Value(Scalar::Integer(name)) => name.to_string(),
                    YamlData::Value(Scalar::Boolean(name)) => name.to_string(),
                    _ => return Err(malformed("the name of a field must be a text")),
                };
                let inner = match place {
                    "" => name.clone(),
                    _ => format!("{place}.{name}"),
                };
                lines.insert(inner.clone(), name_line);
                map.insert(name, json(value, &inner, lines)?);
            }
            map.into()
        }
        _ => return Err(malformed("tags are not supported")),
    })
}

/// A value as a document, with a newline at its end.
pub(crate) fn text(value: &Value) -> String {
    let mut text = String::new();
    // Nothing fails that writes to a string.
    let _ = YamlEmitter::new(&mut text).dump(&yaml(value));
    let text = text.strip_prefix("---\n").unwrap_or(&text);
    format!("{text}\n")
}

fn yaml(value: &Value) -> Yaml<'_> {
    let scalar = match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Boolean(*value),
        Value::Number(value) => match value.as_i64() {
            Some(value) => Scalar::Integer(value),
            None => Scalar::FloatingPoint(value.as_f64().unwrap_or_default().into()),
        },
        Value::String(value) => Scalar::String(value.into()),
        Value::Array(items) => return Yaml::Sequence(items.iter().map(yaml).collect()),
        Value::Object(fields) => {
            let fields = fields.iter();
            let name = |name: &'_ String| Yaml::Value(Scalar::String(name.clone().into()));
            return Yaml::Mapping(fields.map(|(n, value)| (name(n), yaml(value))).collect());
        }
    };
    Yaml::Value(scalar)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_has_its_line() {
        let text = "# shop\nkind: App\napp: shop\nhealth_check:\n  path: /up\n---\n\
                    kind: Route\nrules:\n- path: /\n  to:\n  - {app: a, weight: 2}\n---\n";
        let documents = documents(text).unwrap();
        assert_eq!(documents.len(), 2);
        let (app, route) = (&documents[0], &documents[1]);
        assert_eq!(app.value["health_check"], json!({ "path": "/up" }));
        assert_eq!(route.value["rules"][0]["to"][0]["weight"], 2);
        for (document, field, line) in [
            (app, "kind", 2),
            (app, "health_check.path", 5),
            (app, "health_check.nothing", 4),
            (app, "nothing", 2),
            (route, "rules[0].to[0].weight", 11),
            (route, "rules[0].redirect", 9),
            (route, "rules", 8),
        ] {
            assert_eq!(document.line(field), line, "{field}");
        }
    }

    #[test]
    fn json_is_read_too() {
        for text in [
            r#"{"a": "\ud83d\ude00", "b": [1, true, null]}"#,
            "{\n\t\"a\": \"\u{1f600}\",\n\t\"b\": [\n\t\t1, true, null]\n}",
        ] {
            let documents = documents(text).unwrap();
            let expected = json!({"a": "\u{1f600}", "b": [1, true, null]});
            assert_eq!(documents[0].value, expected, "{text}");
        }
    }

    #[test]
    fn a_mistake_has_its_line() {
        for (text, line) in [
            ("a: 1\nb: ]\n", 2),
            ("a: 1\nb: [\n", 2),
            ("a: 1\n---\nb: 1\nb: 2\n", 4),
            ("a: !x {b: 1}\n", 1),
            ("a:\n  ? [b]\n  : 1\n", 2),
            ("a:\n- .inf\n", 2),
        ] {
            assert_eq!(documents(text).unwrap_err().line, line, "{text}");
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let words = prop::sample::select(vec![
            "",
            "yes",
            "no",
            "~",
            "null",
            "1.0",
            "0x1f",
            "0o7",
            "-",
            "- a",
            "a: b",
            "#x",
            "*",
            "&a",
            " a ",
            "a\nb\n",
            "\u{85}",
            "\u{2028}",
            "\u{feff}x",
            "---",
            "...",
            "%a",
            "1e3",
            "+1",
            "é",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9_f64).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            words.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in any_json()) {
            let value = json!({ "value": value });
            let text = text(&value);
            let read = documents(&text).map(|documents| documents[0].value.clone());
            prop_assert_eq!(read, Ok(value), "{}", text);
        }
    }
}
