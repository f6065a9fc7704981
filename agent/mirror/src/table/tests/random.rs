//! Random registries: whatever was written, and whenever an agent joined, its
//! table is that of all others.

use pointsman_model::Kind;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

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
        prop::option::of(prop::sample::select(vec![
            "{}",
            r#"{"retries":2}"#,
            CHECKED,
            r#"{"health_check":{"initial":"healthy"}}"#,
            "bad",
        ])),
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
    let about = |kind: &'static str, values: Vec<&'static str>| {
        let values = prop::option::weighted(0.7, prop::sample::select(values));
        (prop::sample::select(vec!["shop", "blog"]), 0..4, values)
            .prop_map(move |(app, id, v)| (format!("{kind}/{app}/{id}"), v.map(str::to_owned)))
    };
    let overrides = about(
        "overrides",
        vec![DRAINING, DRAINING, r#"{"draining":false}"#, "bad"],
    );
    let booting = r#"{"up":false,"pending":true}"#;
    let health = about("health", vec![DOWN, booting, r#"{"up":true}"#, "bad"]);
    let pause = (
        prop::sample::select(vec!["a.x.y", "*.y"]),
        prop::option::of(prop::sample::select(vec!["{}", r#"{"max":5}"#, "bad"])),
    )
        .prop_map(|(host, value)| (format!("pauses/{host}"), value.map(str::to_owned)));
    let pending = prop::option::weighted(0.8, Just("{}".to_owned()))
        .prop_map(|value| ("pending".to_owned(), value));
    prop_oneof![
        3 => route, 3 => app, 5 => instance, 2 => settings(), 2 => overrides, 3 => health,
        1 => pause, 1 => pending
    ]
}

fn settings() -> impl Strategy<Value = (String, Option<String>)> {
    prop::option::of(prop::sample::select(vec![
        r#"{"allowed_networks":["10.0.0.1/32"]}"#,
        r#"{"defaults":{"retries":3,"health_check":{}}}"#,
        r#"{"defaults":{"retries":2}}"#,
        r#"{"allowed_networks":["10.0.0.2/32"],"defaults":{"max_conns":9}}"#,
        "{}",
        "bad",
    ]))
    .prop_map(|value| ("settings".to_owned(), value.map(str::to_owned)))
}

/// etcd, as far as revisions go.
#[derive(Default)]
struct SmallRegistry {
    revision: Revision,
    keys: BTreeMap<String, KeyValue>,
}

impl SmallRegistry {
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

/// All elements that such a registry can have.
fn elements() -> Vec<Element> {
    let mut elements = vec![Element::defaults()];
    for host in ["a.x.y", "b.x.y", "*.x.y", "x.y", "*.y", "*", "10.0.0.1"] {
        elements.push(Element::Route(host.into()));
    }
    for app in ["shop", "blog"] {
        elements.push(Element::App(app.into()));
        for id in 0..4 {
            elements.push(Element::Instance(app.into(), id.to_string().into()));
        }
    }
    elements
}

/// What is kept to be shown at once is what all instances together say.
fn assert_adds_up(table: &Table) {
    let (mut shadowed, mut live) = (0, Vec::new());
    for app in table.apps("", None, usize::MAX) {
        let view = table.app_named(&app.app).unwrap();
        let states = || view.instances.iter().map(|instance| &instance.state);
        live.push((
            app.live,
            states().filter(|s| **s == InstanceState::Live).count(),
        ));
        assert_eq!(app.instances, view.instances.len());
        shadowed += states()
            .filter(|s| matches!(s, InstanceState::Shadowed { .. }))
            .count();
    }
    assert!(live.iter().all(|(shown, found)| shown == found), "{live:?}");
    assert_eq!(table.shadowed_count(), shadowed);
    let shown = table.shadowed(usize::MAX);
    assert_eq!(table.contested_count(), shown.len());
    assert_eq!(
        shown.iter().map(|s| s.displaced.len()).sum::<usize>(),
        shadowed
    );
    assert_eq!(table.counts().bad, table.bad().count());
    assert!(table.bad().map(|(key, _)| key).is_sorted());
    let keys = [
        (Kind::Route, table.route_keys(None, usize::MAX)),
        (Kind::Pause, table.pause_keys(None, usize::MAX)),
        (Kind::App, table.policy_keys(None, usize::MAX)),
        (Kind::Instance, table.instance_keys(None, usize::MAX)),
        (Kind::Override, table.override_keys(None, usize::MAX)),
        (Kind::Health, table.health_keys(None, usize::MAX)),
    ];
    for (kind, keys) in keys {
        assert_eq!(table.count(kind), keys.len(), "{kind:?}");
        for (key, revision) in keys {
            assert_eq!(table.key_revision(&key), Some(revision));
        }
    }
}

proptest! {
    /// Settings touch the elements that they change, and no others.
    #[test]
    fn settings_touch_what_becomes_another(
        writes in prop::collection::vec(write(), 1..40),
        changes in prop::collection::vec(settings(), 1..6),
    ) {
        let mut registry = SmallRegistry::default();
        registry.commit(&writes);
        let mut table = registry.table();
        for change in changes {
            let held = |table: &Table| -> Vec<_> {
                let elements = elements().into_iter();
                elements.map(|e| (table.held(&e), e)).collect()
            };
            let before = held(&table);
            let events = registry.commit(&[change]);
            table.apply(registry.revision, &events);
            let changed: BTreeSet<_> = before
                .into_iter()
                .zip(held(&table))
                .filter(|((was, _), (is, _))| was != is)
                .map(|((_, element), _)| element)
                .collect();
            let touched = table.touched_since(registry.revision - 1).unwrap();
            prop_assert_eq!(touched, changed.iter().collect::<BTreeSet<_>>());
            let fresh = registry.table();
            prop_assert_eq!(&table.index, &fresh.index);
            prop_assert_eq!(held(&table), held(&fresh));
        }
    }

    /// Two agents never disagree: a table that saw every event equals one that
    /// was loaded from a listing, and the changes that it told on the way lead
    /// Redis from any revision to what it holds.
    #[test]
    fn the_table_is_a_pure_function_of_the_registry(
        commits in prop::collection::vec(prop::collection::vec(write(), 1..4), 1..40),
        joined in 0_usize..40,
    ) {
        let mut registry = SmallRegistry::default();
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
            for app in ["shop", "blog"] {
                prop_assert_eq!(table.app_named(app), fresh.app_named(app));
            }
            prop_assert_eq!(&table.index, &fresh.index);
            assert_adds_up(&table);
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
