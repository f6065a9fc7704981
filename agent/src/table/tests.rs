use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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

const SHOP: &str = r#"{"app":"shop"}"#;

#[test]
fn a_younger_instance_takes_an_address_over_and_gives_it_back() {
    let mut table = Table::new();
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 2));
    assert_eq!(
        apply(&mut table, &put("instances/b/1", "10.0.0.1:80", 3, 3)),
        ["inst:a 1=gone", r#"inst:b 1=["3","10.0.0.1:80",100]"#],
        "another app's instance never gets requests of the first"
    );
    assert_eq!(
        apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 4)),
        ["inst:a 1=gone"],
        "a heartbeat does not win the address back"
    );
    let [Shadowed { owner, losers, .. }] = &table.shadowed()[..] else {
        panic!()
    };
    assert_eq!(
        (owner.as_str(), losers.as_slice()),
        ("b/1", &["a/1".to_owned()][..])
    );
    assert_eq!(
        apply(&mut table, &delete("instances/b/1", 5)),
        [r#"inst:a 1=["4","10.0.0.1:80",100]"#, "inst:b 1=gone"]
    );
}

#[test]
fn an_instance_that_moves_lets_go_of_its_old_address() {
    let mut table = Table::new();
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 2));
    apply(&mut table, &put("instances/a/2", "10.0.0.1:80", 3, 3));
    assert_eq!(
        apply(&mut table, &put("instances/a/2", "10.0.0.2:80", 3, 4)),
        [
            r#"inst:a 1=["2","10.0.0.1:80",100]"#,
            r#"inst:a 2=["4","10.0.0.2:80",100]"#
        ]
    );
}

#[test]
fn shared_instances_neither_shadow_nor_are_shadowed() {
    let mut table = Table::new();
    let shared = r#"{"addr":"10.0.0.1:80","shared":true}"#;
    apply(&mut table, &put("instances/a/1", shared, 2, 2));
    apply(&mut table, &put("instances/a/2", "10.0.0.1:80", 3, 3));
    apply(&mut table, &put("instances/a/3", shared, 4, 4));
    assert_eq!(table.records(None, 9).len(), 3);
    assert_eq!(table.shadowed(), []);
}

#[test]
fn a_bad_value_freezes_its_element_until_the_key_is_valid_or_gone() {
    let mut table = Table::new();
    apply(&mut table, &put("routes/a.example", SHOP, 2, 2));
    assert!(apply(&mut table, &put("routes/a.example", "shop", 2, 3)).is_empty());
    assert_eq!(
        table.held(&Element::Route("a.example".into())),
        Held::Frozen
    );
    assert_eq!(table.bad().next().unwrap().0, "routes/a.example");
    assert_eq!(
        apply(&mut table, &put("routes/a.example", SHOP, 2, 4)).len(),
        1
    );
    assert_eq!(table.bad().count(), 0);
    apply(&mut table, &put("routes/a.example", "shop", 2, 5));
    assert_eq!(
        apply(&mut table, &delete("routes/a.example", 6)),
        ["route:a.example=gone"]
    );
    assert_eq!(table.bad().count(), 0);
}

#[test]
fn settings_say_where_instances_may_be() {
    let mut table = Table::new();
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 2));
    apply(&mut table, &put("instances/a/2", "192.168.0.1:80", 3, 3));
    let settings = r#"{"allowed_networks":["10.0.0.0/8"]}"#;
    assert_eq!(
        apply(&mut table, &put("settings", settings, 4, 4)),
        [r#"inst:a 1=["2","10.0.0.1:80",100]"#, "inst:a 2=gone"]
    );
    let (key, bad) = table.bad().next().unwrap();
    assert_eq!((key, bad.code.as_str()), ("instances/a/2", "not_allowed"));
    // One that is not allowed has no claim on an address either.
    apply(&mut table, &put("instances/b/1", "192.168.0.1:80", 5, 5));
    assert_eq!(table.shadowed(), []);
    // Bad settings freeze all instances.
    assert!(apply(&mut table, &put("settings", "{", 4, 6)).is_empty());
    assert!(apply(&mut table, &put("instances/a/1", "10.0.0.3:80", 2, 7)).is_empty());
    assert_eq!(
        apply(&mut table, &delete("settings", 8)),
        [
            r#"inst:a 1=["7","10.0.0.3:80",100]"#,
            "inst:a 2=gone",
            r#"inst:b 1=["5","192.168.0.1:80",100]"#
        ],
        "without settings all are allowed, and the younger has the address"
    );
    assert_eq!(table.bad().count(), 0);
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
fn events_that_were_applied_are_ignored_when_they_come_again() {
    let mut table = Table::new();
    let event = put("routes/a.example", SHOP, 2, 2);
    assert_eq!(apply(&mut table, &event).len(), 1);
    assert!(apply(&mut table, &event).is_empty());
}

#[test]
fn records_come_in_pages_without_gaps() {
    let mut table = Table::new();
    for i in 0..7 {
        table.load(&kv(&format!("routes/h{i}.example"), SHOP));
        table.load(&kv(&format!("apps/a{i}"), "{}"));
        for j in 0..3 {
            table.load(&kv(
                &format!("instances/a{i}/{j}"),
                &format!("10.0.{i}.{j}:80"),
            ));
        }
    }
    table.load(&kv("instances/a3/1", "bad"));
    let whole = table.records(None, usize::MAX);
    assert_eq!(whole.len(), 7 + 7 + 21 - 1);
    for size in [1, 2, 5, 100] {
        let mut paged = Vec::new();
        loop {
            let page = table.records(paged.last().map(|c: &Change| &c.element), size);
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= size);
            paged.extend(page);
        }
        assert_eq!(paged, whole, "in pages of {size}");
    }
}

fn kv(key: &str, value: &str) -> KeyValue {
    match put(key, value, 2, 2) {
        Event::Put(kv) => kv,
        Event::Delete { .. } => unreachable!(),
    }
}

/// A write to a small registry, so that keys and addresses collide often.
fn write() -> impl Strategy<Value = (String, Option<String>)> {
    let route = (
        prop::sample::select(vec![
            "a.x.y", "b.x.y", "*.x.y", "x.y", "*.y", "*", "10.0.0.1", "UP",
        ]),
        prop::option::of(prop::sample::select(vec![SHOP, r#"{"app":"blog"}"#, "bad"])),
    )
        .prop_map(|(host, value)| (format!("routes/{host}"), value.map(str::to_owned)));
    let app = (
        prop::sample::select(vec!["shop", "blog"]),
        prop::option::of(prop::sample::select(vec!["{}", r#"{"retries":2}"#, "bad"])),
    )
        .prop_map(|(app, value)| (format!("apps/{app}"), value.map(str::to_owned)));
    let instance = (
        prop::sample::select(vec!["shop", "blog"]),
        0..4,
        prop::option::of(prop::sample::select(vec![
            "10.0.0.1:80",
            "10.0.0.2:80",
            r#"{"addr":"10.0.0.1:80","shared":true}"#,
            "bad",
        ])),
    )
        .prop_map(|(app, id, v)| (format!("instances/{app}/{id}"), v.map(str::to_owned)));
    let settings = prop::option::of(prop::sample::select(vec![
        r#"{"allowed_networks":["10.0.0.1/32"]}"#,
        "{}",
        "bad",
    ]))
    .prop_map(|value| ("settings".to_owned(), value.map(str::to_owned)));
    prop_oneof![3 => route, 3 => app, 5 => instance, 1 => settings]
}

/// etcd, as far as revisions go.
#[derive(Default)]
struct Registry {
    revision: Revision,
    keys: BTreeMap<String, KeyValue>,
}

impl Registry {
    fn commit(&mut self, writes: &[(String, Option<String>)]) -> Vec<Event> {
        self.revision += 1;
        let mod_revision = self.revision;
        let writes: BTreeMap<_, _> = writes.iter().cloned().collect();
        let mut events = Vec::new();
        for (key, value) in writes {
            match value {
                Some(value) => {
                    let created = self
                        .keys
                        .get(&key)
                        .map_or(mod_revision, |kv| kv.create_revision);
                    let event = put(&key, &value, created, mod_revision);
                    if let Event::Put(kv) = &event {
                        self.keys.insert(key, kv.clone());
                    }
                    events.push(event);
                }
                None if self.keys.remove(&key).is_some() => events.push(delete(&key, mod_revision)),
                None => {}
            }
        }
        events
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        self.keys.values().for_each(|kv| table.load(kv));
        table.loaded(self.revision);
        table
    }
}

proptest! {
    /// Two agents never disagree: a table that saw every event equals one that
    /// was loaded from a listing, and the changes that it told on the way lead
    /// Redis from any revision to what it holds.
    #[test]
    fn the_table_is_a_pure_function_of_the_registry(
        commits in prop::collection::vec(prop::collection::vec(write(), 1..4), 1..40),
        joined in 0_usize..40,
    ) {
        let mut registry = Registry::default();
        let mut table = Table::new();
        let mut redis: BTreeMap<Element, Box<str>> = BTreeMap::new();
        for (at, commit) in commits.iter().enumerate() {
            if at == joined {
                table = registry.table();
            }
            let events = registry.commit(commit);
            for change in table.apply(registry.revision, &events) {
                match change.value {
                    Some(value) => redis.insert(change.element, value),
                    None => redis.remove(&change.element),
                };
            }
            let fresh = registry.table();
            let records = fresh.records(None, usize::MAX);
            prop_assert_eq!(&table.records(None, usize::MAX), &records);
            let bad: Vec<_> = table.bad().collect();
            prop_assert_eq!(bad, fresh.bad().collect::<Vec<_>>());
            prop_assert_eq!(table.counts(), fresh.counts());
            redis.retain(|element, _| fresh.held(element) != Held::Frozen);
            let mut held: Vec<_> = redis
                .iter()
                .map(|(element, value)| Change {
                    element: element.clone(),
                    value: Some(value.clone()),
                })
                .collect();
            held.sort_by(|a, b| a.element.cmp(&b.element));
            prop_assert_eq!(held, records);
        }
    }
}
