//! The golden records that Rust, Lua and the nginx tests share: what the agent
//! writes to Redis for each of them, and what it refuses, by which code.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

use pointsman_mirror::table::{Held, Table};
use pointsman_model::{Bad, Element, changes_json};
use pointsman_publish::sink::FORMAT;
use pointsman_store::{Event, KeyValue};
use serde_json::Value;

fn records() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../t/fixtures/records.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn section<'a>(records: &'a Value, name: &str) -> &'a [Value] {
    let rows = records[name].as_array().unwrap();
    assert!(!rows.is_empty(), "no {name} in the golden records");
    rows
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field]
        .as_str()
        .unwrap_or_else(|| panic!("{row} has no {field}"))
}

fn key_value(key: &str, value: &str, rev: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        create_revision: rev,
        mod_revision: rev,
        lease: 0,
    }
}

fn element(redis: &Value) -> Element {
    match text(redis, "key").split_once(':').unwrap() {
        ("route", host) => Element::Route(host.into()),
        ("app", app) => Element::App(app.into()),
        ("inst", app) => Element::Instance(app.into(), text(redis, "field").into()),
        (kind, _) => panic!("unknown kind of record: {kind}"),
    }
}

#[test]
fn good_values_become_the_golden_records() {
    let records = records();
    let mut table = Table::new();
    for row in section(&records, "good") {
        let etcd = &row["etcd"];
        table.load(&key_value(
            text(etcd, "key"),
            text(etcd, "value"),
            etcd["rev"].as_i64().unwrap(),
        ));
    }
    table.loaded(1_000);
    for row in section(&records, "good") {
        let redis = &row["redis"];
        let held = table.held(&element(redis));
        assert_eq!(
            held,
            Held::Value(text(redis, "value").into()),
            "{}",
            row["name"]
        );
    }
    assert_eq!(table.bad().count(), 0);
    assert_eq!(
        table.records(None, usize::MAX).len(),
        section(&records, "good").len()
    );
}

/// Each of these is a registry of its own.
#[test]
fn values_of_each_feature_become_the_golden_records() {
    let records = records();
    let rows = ["good_v2", "good_v3"].map(|name| section(&records, name));
    for row in rows.into_iter().flatten() {
        let mut table = Table::new();
        let also = row["also"].as_array().into_iter().flatten();
        for etcd in also.chain([&row["etcd"]]) {
            table.load(&key_value(
                text(etcd, "key"),
                text(etcd, "value"),
                etcd["rev"].as_i64().unwrap(),
            ));
        }
        table.loaded(1_000);
        let redis = &row["redis"];
        let held = table.held(&element(redis));
        let want = Held::Value(text(redis, "value").into());
        assert_eq!(held, want, "{}", row["name"]);
        let bad: Vec<_> = table.bad().collect();
        assert_eq!(bad, [], "{}", row["name"]);
    }
}

fn refusal(key: &str, value: &str) -> Bad {
    let mut table = Table::new();
    let changes = table.apply(7, &[Event::Put(key_value(key, value, 7))]);
    // A bad word about an instance is as none; there is no such instance.
    let written = changes.iter().filter(|change| change.value.is_some());
    assert_eq!(written.count(), 0, "{key} = {value} changes Redis");
    let bad: Vec<_> = table.bad().collect();
    let [(shown, bad)] = bad[..] else {
        panic!("{key} = {value} is accepted");
    };
    assert_eq!(shown, key);
    assert!(!bad.detail.is_empty());
    bad.clone()
}

#[test]
fn bad_keys_and_values_are_refused_with_their_code() {
    let records = records();
    for name in ["bad_keys", "bad_values", "bad_v2"] {
        for row in section(&records, name) {
            let bad = refusal(text(row, "key"), text(row, "value"));
            assert_eq!(bad.code.as_str(), text(row, "code"), "{}", row["name"]);
            if let Some(field) = row["field"].as_str() {
                assert_eq!(bad.field.as_deref(), Some(field), "{}", row["name"]);
            }
        }
    }
}

/// The format that agents write, and the digest of what they derive.
///
/// An agent leaves alone what it does not understand and still advances Redis's
/// revision. So agents that derive different records must not write side by
/// side: the format keeps them apart.
const DERIVED: (u32, u64) = (3, 0xe95b_c845_d0e2_779d);

#[test]
fn the_format_is_raised_when_the_derivation_changes() {
    let digest = digest(&derived());
    let (format, known) = DERIVED;
    assert!(
        (FORMAT, digest) == (format, known),
        "the derivation changed: raise FORMAT (now {FORMAT}) in agent/publish/src/sink.rs beyond \
         {format}, add it to FORMATS in lua/pointsman/redis/client.lua, and renew DERIVED here to \
         (FORMAT, {digest:#018x}). If golden records were only added, and the version before derives \
         the same from them, renew the digest alone"
    );
}

#[test]
fn edges_read_the_format_that_agents_write() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../lua/pointsman/redis/client.lua"
    );
    let client = std::fs::read_to_string(path).unwrap();
    let formats = client
        .lines()
        .find(|line| line.starts_with("local FORMATS = "))
        .unwrap();
    let wanted = format!("[\"{FORMAT}\"] = true");
    assert!(formats.contains(&wanted), "{formats}");
}

/// FNV-1a: the same in all versions of all libraries.
fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// What agents derive: from each golden key by itself, and from a long history
/// in which all of them meet.
fn derived() -> String {
    let records = records();
    let mut keys = Vec::new();
    for name in ["good", "good_v2", "good_v3"] {
        for row in section(&records, name) {
            let also = row["also"].as_array().into_iter().flatten();
            let etcd = also.chain([&row["etcd"]]);
            keys.extend(etcd.map(|kv| (text(kv, "key"), text(kv, "value"))));
        }
    }
    for name in ["bad_keys", "bad_values", "bad_v2"] {
        let rows = section(&records, name).iter();
        keys.extend(rows.map(|row| (text(row, "key"), text(row, "value"))));
    }
    let mut out = String::new();
    for (key, value) in &keys {
        let changes = Table::new().apply(7, &[Event::Put(key_value(key, value, 7))]);
        out += &changes_json(&changes);
    }
    let mut table = Table::new();
    let mut random = 1_u64;
    let mut below = |n: usize| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(random >> 33).unwrap() % n
    };
    for revision in 8..4_000 {
        let (key, own) = keys[below(keys.len())];
        let event = match below(5) {
            0 => Event::Delete {
                key: key.to_owned(),
                mod_revision: revision,
            },
            // A value of another key, mostly one of its kind.
            1 => {
                let kind = key.split('/').next();
                let (_, value) = *(0..20)
                    .map(|_| &keys[below(keys.len())])
                    .find(|(other, _)| other.split('/').next() == kind)
                    .unwrap_or(&(key, own));
                Event::Put(key_value(key, value, revision))
            }
            _ => Event::Put(key_value(key, own, revision)),
        };
        out += &changes_json(&table.apply(revision, &[event]));
    }
    out
}
