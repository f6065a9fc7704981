mod addresses;
mod annotations;
mod conflicts;
mod frozen;
mod pages;
mod pending;
mod random;
mod settings;
mod size;

use super::*;

const SHOP: &str = r#"{"app":"shop"}"#;
const CHECKED: &str = r#"{"health_check":{}}"#;
const DRAINING: &str = r#"{"draining":true}"#;
const DOWN: &str = r#"{"up":false,"reason":"status 503"}"#;

fn put(key: &str, value: &str, create_revision: Revision, mod_revision: Revision) -> Event {
    let value = value.as_bytes().to_vec();
    Event::Put(KeyValue {
        key: key.into(),
        value,
        create_revision,
        mod_revision,
        lease: 0,
    })
}

fn delete(key: &str, mod_revision: Revision) -> Event {
    Event::Delete {
        key: key.into(),
        mod_revision,
    }
}

/// Applies one event as its own revision; answers `element=value` rows.
fn apply(table: &mut Table, event: &Event) -> Vec<String> {
    let changes = table.apply(event.revision(), std::slice::from_ref(event));
    changes.iter().map(row).collect()
}

fn row(change: &Change) -> String {
    format!(
        "{}={}",
        change.element,
        change.value.as_deref().unwrap_or("gone")
    )
}

#[test]
fn a_wildcard_tells_whether_another_route_lies_beneath() {
    let mut table = Table::new();
    let record = |host: &str, rev: i64, deeper: &str| {
        let rules = r#""rules":[{"path":"/","to":[{"app":"shop"}]}]"#;
        format!(r#"route:{host}={{"rev":"{rev}",{deeper}{rules}}}"#)
    };
    let wild = "*.example.com";
    assert_eq!(
        apply(&mut table, &put("routes/*.example.com", SHOP, 2, 2)),
        [record(wild, 2, r#""deeper":0,"#)]
    );
    assert_eq!(
        apply(&mut table, &put("routes/a.b.example.com", SHOP, 3, 3)),
        [
            record(wild, 2, r#""deeper":1,"#),
            record("a.b.example.com", 3, "")
        ]
    );
    // The second one beneath changes nothing; nor does one of two that goes.
    assert_eq!(
        apply(&mut table, &put("routes/*.b.example.com", SHOP, 4, 4)).len(),
        1
    );
    assert_eq!(
        apply(&mut table, &delete("routes/a.b.example.com", 5)).len(),
        2,
        "its parent too"
    );
    assert_eq!(
        apply(&mut table, &delete("routes/*.b.example.com", 6)),
        [
            "route:*.b.example.com=gone".into(),
            record(wild, 2, r#""deeper":0,"#)
        ]
    );
    assert_eq!(
        apply(&mut table, &put("routes/*", SHOP, 7, 7)),
        [record("*", 7, r#""deeper":1,"#)],
        "the catch-all lies above all"
    );
    apply(&mut table, &delete("routes/*.example.com", 8));
    assert_eq!(
        apply(&mut table, &put("routes/10.0.0.1", SHOP, 9, 9)),
        [record("*", 7, r#""deeper":1,"#), record("10.0.0.1", 9, "")],
        "an IP literal lies beneath the catch-all alone"
    );
    // A frozen route still stands in Redis, so it counts.
    apply(&mut table, &put("routes/10.0.0.1", "broken", 9, 10));
    assert_eq!(
        table.held(&Element::Route("*".into())),
        Held::Value(
            record("*", 7, r#""deeper":1,"#)
                .trim_start_matches("route:*=")
                .into()
        )
    );
}

#[test]
fn a_pause_is_a_part_of_its_routes_record_and_of_no_other() {
    let mut table = Table::new();
    let rules = r#""rules":[{"path":"/","to":[{"app":"shop"}]}]}"#;
    apply(&mut table, &put("routes/a.example", SHOP, 2, 2));
    let paused =
        |max: u32| format!(r#"route:a.example={{"rev":"2","pause":{{"max":{max}}},{rules}"#);
    let plain = format!(r#"route:a.example={{"rev":"2",{rules}"#);
    let pause = |value: &str, revision| put("pauses/a.example", value, revision, revision);
    assert_eq!(apply(&mut table, &pause("{}", 3)), [paused(1_000)]);
    assert_eq!(apply(&mut table, &pause(r#"{"max":5}"#, 4)), [paused(5)]);
    assert_eq!(apply(&mut table, &delete("pauses/a.example", 5)), [&*plain]);
    // A bad one is shown, and pauses nothing.
    assert_eq!(apply(&mut table, &pause(r#"{"max":0}"#, 6)), [&*plain]);
    let bad: Vec<_> = table.bad().map(|(key, _)| key).collect();
    assert_eq!(bad, ["pauses/a.example"]);
    // One without its route is none of the record's; the wildcard has its own.
    assert!(apply(&mut table, &pause("{}", 7)).len() == 1);
    apply(&mut table, &delete("routes/a.example", 8));
    assert!(apply(&mut table, &put("pauses/*.example", "{}", 9, 9)).is_empty());
    let wild = r#"route:*.example={"rev":"10","deeper":0,"pause":{"max":1000},"#;
    let rows = apply(&mut table, &put("routes/*.example", SHOP, 10, 10));
    assert_eq!(rows, [format!("{wild}{rules}")]);
}

#[test]
fn events_that_were_applied_are_ignored_when_they_come_again() {
    let mut table = Table::new();
    let event = put("routes/a.example", SHOP, 2, 2);
    assert_eq!(apply(&mut table, &event).len(), 1);
    assert!(apply(&mut table, &event).is_empty());
}

fn kv(key: &str, value: &str) -> KeyValue {
    match put(key, value, 2, 2) {
        Event::Put(kv) => kv,
        Event::Delete { .. } => unreachable!(),
    }
}

fn kv_at(key: &str, value: &str, mod_revision: Revision) -> KeyValue {
    match put(key, value, 2, mod_revision) {
        Event::Put(kv) => kv,
        Event::Delete { .. } => unreachable!(),
    }
}
