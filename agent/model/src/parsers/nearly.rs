//! JSON that is nearly what a parser expects: good documents, of which a few
//! places are changed.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// Texts at which parsers have their corners.
const CORNERS: &[&str] = &[
    "",
    " ",
    "*",
    "/",
    "//",
    "/a/",
    "/a/../b",
    "/%2e%2E/%5c",
    "\\",
    "0s",
    "1ms",
    "1m 30s",
    "365d",
    "99999999999999999999d",
    "10.0.0.5:8080",
    "1.2.3.4:0",
    "[::1]:80",
    "::1:80",
    "::1",
    "[[::1]]",
    "]::1[",
    "[::ffff:1.2.3.4]:80",
    "host:80",
    "xn--a",
    "*.example",
    "10.0.0.0/8",
    "::/0",
    "::ffff:10.0.0.0/104",
    "200-299",
    "599-100",
    "a=b&c",
    "a b",
    "\0",
    "\u{7f}",
    "é",
    "＊",
    "１.2.3.4",
];

/// The values of the golden records whose keys begin with `prefix`.
pub fn golden(prefix: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../t/fixtures/records.json");
    let records: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let rows = ["good", "good_v2", "good_v3"].map(|name| records[name].as_array().unwrap());
    let values: Vec<_> = rows
        .into_iter()
        .flatten()
        .filter(|row| row["etcd"]["key"].as_str().unwrap().starts_with(prefix))
        .filter_map(|row| serde_json::from_str(row["etcd"]["value"].as_str()?).ok())
        .collect();
    assert!(!values.is_empty(), "no golden record is of {prefix}");
    values
}

/// One of `documents`, mostly with changes; sometimes any bytes.
pub fn nearly(documents: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let changes = prop::collection::vec((any::<Index>(), change()), 0..4);
    let changed = (prop::sample::select(documents), changes).prop_map(|(mut document, changes)| {
        for (at, change) in changes {
            let places = places(&document);
            let place = at.get(&places);
            apply(document.pointer_mut(place).unwrap(), change);
        }
        document.to_string().into_bytes()
    });
    let changed = changed.boxed();
    let broken =
        (changed.clone(), any::<Index>(), any::<Option<u8>>()).prop_map(|(mut text, at, byte)| {
            let at = at.index(text.len());
            match byte {
                Some(byte) => text.insert(at, byte),
                None => drop(text.remove(at)),
            }
            text
        });
    prop_oneof![12 => changed, 3 => broken, 1 => any::<Vec<u8>>()]
}

/// What becomes of a place of a document.
#[derive(Clone, Debug)]
enum Change {
    Replace(Value),
    Add(String, Value),
    Remove(Index),
    Repeat(Index),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => any_value().prop_map(Change::Replace),
        1 => (text(), any_value()).prop_map(|(name, value)| Change::Add(name, value)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => any::<Index>().prop_map(Change::Repeat),
    ]
}

fn apply(place: &mut Value, change: Change) {
    match (place, change) {
        (place, Change::Replace(value)) => *place = value,
        (Value::Object(map), Change::Add(name, value)) => drop(map.insert(name, value)),
        (Value::Object(map), Change::Remove(at)) if !map.is_empty() => {
            let name = map.keys().nth(at.index(map.len())).unwrap().clone();
            map.remove(&name);
        }
        (Value::Array(items), Change::Remove(at)) if !items.is_empty() => {
            items.remove(at.index(items.len()));
        }
        (Value::Array(items), Change::Repeat(at)) if !items.is_empty() => {
            items.push(items[at.index(items.len())].clone());
        }
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        2 => text().prop_map(Value::from),
        1 => prop::sample::select(vec![json!(null), json!([]), json!({}), json!([{}]), json!([null])]),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<u16>().prop_map(Value::from),
        1 => (-2_i64..12).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
    ]
}

/// A text for any place: a corner, a long one, or any.
pub fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => prop::sample::select(CORNERS).prop_map(str::to_owned),
        1 => (1_usize..3_000).prop_map(|n| "x".repeat(n)),
        2 => "[ -~]{0,12}",
        1 => any::<String>(),
    ]
}

/// The JSON pointers of all places.
fn places(value: &Value) -> Vec<String> {
    let mut all = vec![String::new()];
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            let escaped = |name: &str| name.replace('~', "~0").replace('/', "~1");
            map.iter().map(|(name, v)| (escaped(name), v)).collect()
        }
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(n, v)| (n.to_string(), v)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in inner {
        all.extend(places(value).iter().map(|below| format!("/{name}{below}")));
    }
    all
}
