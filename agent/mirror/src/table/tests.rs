mod random;
mod size;

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
    let [
        Shadowed {
            owner, displaced, ..
        },
    ] = &table.shadowed(9)[..]
    else {
        panic!()
    };
    assert_eq!(
        (owner.as_str(), displaced.as_slice()),
        ("b/1", &["a/1".to_owned()][..])
    );
    assert_eq!(
        apply(&mut table, &put("instances/b/1", "10.0.0.1:80", 3, 5)).len(),
        1,
        "nor does one of the owner touch anything else"
    );
    assert_eq!(
        apply(&mut table, &delete("instances/b/1", 6)),
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
    assert_eq!(table.shadowed(9), []);
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
        ["inst:a 2=gone"]
    );
    let (key, bad) = table.bad().next().unwrap();
    assert_eq!((key, bad.code.as_str()), ("instances/a/2", "not_allowed"));
    // One that is not allowed has no claim on an address either.
    apply(&mut table, &put("instances/b/1", "192.168.0.1:80", 5, 5));
    assert_eq!(table.shadowed(9), []);
    // Bad settings freeze all instances.
    assert!(apply(&mut table, &put("settings", "{", 4, 6)).is_empty());
    assert!(apply(&mut table, &put("instances/a/1", "10.0.0.3:80", 2, 7)).is_empty());
    assert_eq!(
        apply(&mut table, &delete("settings", 8)),
        [
            "app:*=gone",
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

const CHECKED: &str = r#"{"health_check":{}}"#;
const DRAINING: &str = r#"{"draining":true}"#;
const DOWN: &str = r#"{"up":false,"reason":"status 503"}"#;

fn state(table: &Table, app: &str, id: &str) -> InstanceState {
    let app = table.app_named(app).unwrap();
    let found = app.instances.into_iter().find(|i| i.id == id);
    found.unwrap().state
}

#[test]
fn draining_outlives_heartbeats_but_not_the_registration() {
    let mut table = Table::new();
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 2));
    assert_eq!(
        apply(&mut table, &put("overrides/a/1", DRAINING, 3, 3)),
        [r#"inst:a 1=["2","10.0.0.1:80",100,{"draining":1}]"#]
    );
    assert_eq!(state(&table, "a", "1"), InstanceState::Draining);
    let zone = r#"{"addr":"10.0.0.1:80","zone":"z"}"#;
    assert_eq!(
        apply(&mut table, &put("instances/a/1", zone, 2, 4)),
        [r#"inst:a 1=["4","10.0.0.1:80",100,{"zone":"z","draining":1}]"#]
    );
    apply(&mut table, &delete("instances/a/1", 5));
    assert_eq!(
        apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 6, 6)),
        [r#"inst:a 1=["6","10.0.0.1:80",100]"#],
        "registered again, it is in use"
    );
    assert_eq!(state(&table, "a", "1"), InstanceState::Live);
    // One written in the same transaction as the instance is not later.
    let both = [
        put("instances/a/2", "10.0.0.2:80", 7, 7),
        put("overrides/a/2", DRAINING, 7, 7),
    ];
    let changes = table.apply(7, &both);
    let rows: Vec<_> = changes.iter().map(row).collect();
    assert_eq!(rows, [r#"inst:a 2=["7","10.0.0.2:80",100]"#]);
    apply(&mut table, &put("overrides/a/1", DRAINING, 3, 8));
    assert_eq!(state(&table, "a", "1"), InstanceState::Draining);
    assert_eq!(
        apply(&mut table, &delete("overrides/a/1", 9)),
        [r#"inst:a 1=["6","10.0.0.1:80",100]"#]
    );
}

#[test]
fn a_bad_override_or_health_is_shown_and_has_no_effect() {
    let mut table = Table::new();
    apply(&mut table, &put("apps/a", CHECKED, 2, 2));
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 3, 3));
    apply(&mut table, &put("overrides/a/1", DRAINING, 4, 4));
    assert_eq!(
        apply(&mut table, &put("overrides/a/1", "yes", 4, 5)),
        [r#"inst:a 1=["3","10.0.0.1:80",100]"#]
    );
    apply(&mut table, &put("health/a/1", r#"{"up":"no"}"#, 6, 6));
    assert_eq!(state(&table, "a", "1"), InstanceState::Live);
    let bad: Vec<_> = table
        .bad()
        .map(|(key, bad)| (key, bad.code.as_str()))
        .collect();
    assert_eq!(
        bad,
        [("health/a/1", "bad_value"), ("overrides/a/1", "bad_json")]
    );
    apply(&mut table, &put("overrides/a/1", DRAINING, 4, 7));
    apply(&mut table, &delete("health/a/1", 8));
    assert_eq!(table.bad().count(), 0);
    assert_eq!(state(&table, "a", "1"), InstanceState::Draining);
}

#[test]
fn what_probes_found_counts_while_the_app_has_a_health_check() {
    let mut table = Table::new();
    let up = r#"inst:a 1=["2","10.0.0.1:80",100]"#;
    let down = r#"inst:a 1=["2","10.0.0.1:80",100,{"down":1}]"#;
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 2));
    assert_eq!(apply(&mut table, &put("health/a/1", DOWN, 3, 3)), [up]);
    assert_eq!(state(&table, "a", "1"), InstanceState::Live);
    let rows = apply(&mut table, &put("apps/a", CHECKED, 4, 4));
    assert_eq!(rows, [r#"app:a={"rev":"4"}"#, down]);
    let reason = Some("status 503".to_owned());
    assert_eq!(state(&table, "a", "1"), InstanceState::Unhealthy { reason });
    assert_eq!(apply(&mut table, &delete("apps/a", 5)), ["app:a=gone", up]);
    // The defaults may have the check, too.
    let settings = r#"{"defaults":{"health_check":{}}}"#;
    let rows = apply(&mut table, &put("settings", settings, 6, 6));
    assert_eq!(rows, [r#"app:*={"rev":"6"}"#, down]);
    assert_eq!(apply(&mut table, &delete("health/a/1", 7)), [up]);
    assert_eq!(
        apply(&mut table, &put("health/a/1", r#"{"up":true}"#, 8, 8)),
        [up]
    );
}

#[test]
fn while_a_policy_is_bad_what_probes_found_is_left_as_it_is() {
    let mut table = Table::new();
    apply(&mut table, &put("apps/a", CHECKED, 2, 2));
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 3, 3));
    apply(&mut table, &put("instances/a/2", "10.0.0.2:80", 4, 4));
    apply(&mut table, &put("health/a/1", DOWN, 5, 5));
    assert!(apply(&mut table, &put("apps/a", "{", 2, 6)).is_empty());
    assert_eq!(
        table.held(&Element::Instance("a".into(), "1".into())),
        Held::Frozen
    );
    assert_eq!(
        apply(&mut table, &put("instances/a/2", "10.0.0.3:80", 4, 7)),
        [r#"inst:a 2=["7","10.0.0.3:80",100]"#],
        "others are not concerned"
    );
    let rows = apply(&mut table, &put("apps/a", "{}", 2, 8));
    assert_eq!(
        rows,
        [
            r#"app:a={"rev":"8"}"#,
            r#"inst:a 1=["3","10.0.0.1:80",100]"#
        ]
    );
}

#[test]
fn defaults_lie_beneath_all_policies() {
    let mut table = Table::new();
    apply(&mut table, &put("apps/a", r#"{"retries":2}"#, 2, 2));
    apply(&mut table, &put("apps/b", r#"{"balance":"ewma"}"#, 3, 3));
    let defaults = r#"{"defaults":{"retries":5,"balance":"hash","hash_by":{"uri":true}}}"#;
    assert_eq!(
        apply(&mut table, &put("settings", defaults, 4, 4)),
        [
            r#"app:*={"rev":"4","balance":"hash","hash_by":{"uri":true},"retries":5}"#,
            r#"app:a={"rev":"2","balance":"hash","hash_by":{"uri":true},"retries":2}"#,
            r#"app:b={"rev":"3","balance":"ewma","retries":5}"#,
        ]
    );
    assert_eq!(table.records(None, 1)[0].element, Element::defaults());
    assert_eq!(table.records(Some(&Element::defaults()), 9).len(), 2);
    assert_eq!(table.counts().apps, 2, "it is no app");
    // What changes no default touches no policy.
    let defaults = defaults.replacen('{', r#"{"allowed_networks":["10.0.0.0/8"],"#, 1);
    let rows = apply(&mut table, &put("settings", &defaults, 4, 5));
    assert_eq!(rows.len(), 1);
    assert!(rows[0].starts_with(r#"app:*={"rev":"5""#), "{rows:?}");
    // Bad settings freeze them all; gone ones are gone.
    assert!(
        apply(
            &mut table,
            &put("settings", r#"{"defaults":{"retries":99}}"#, 4, 6)
        )
        .is_empty()
    );
    assert!(apply(&mut table, &put("apps/a", "{}", 2, 7)).is_empty());
    assert_eq!(
        apply(&mut table, &delete("settings", 8)),
        [
            "app:*=gone",
            r#"app:a={"rev":"7"}"#,
            r#"app:b={"rev":"3","balance":"ewma"}"#,
        ]
    );
    // No defaults, or empty ones, are no element.
    assert!(apply(&mut table, &put("settings", r#"{"defaults":{}}"#, 9, 9)).is_empty());
    // No app can be called so.
    assert!(apply(&mut table, &put("apps/*", "{}", 10, 10)).is_empty());
    assert_eq!(table.bad().next().unwrap().1.code.as_str(), "bad_app");
}

#[test]
fn what_bad_settings_freeze_is_kept_for_a_redis_that_loses_it() {
    let mut table = Table::new();
    table.load(&kv("settings", r#"{"defaults":{"retries":2}}"#));
    table.load(&kv("apps/a", r#"{"max_conns":7}"#));
    table.load(&kv("instances/a/1", "10.0.0.1:80"));
    table.load(&kv("instances/a/2", "10.0.0.2:80"));
    table.loaded(2);
    let good = table.records(None, usize::MAX);
    assert!(apply(&mut table, &put("settings", "{", 2, 3)).is_empty());
    assert_eq!(table.kept(), good);
    // A table that is loaded from scratch takes them over.
    let mut fresh = Table::new();
    fresh.load(&kv("apps/a", r#"{"max_conns":7}"#));
    fresh.load(&kv("instances/a/1", "10.0.0.1:80"));
    fresh.load(&kv("instances/a/2", "10.0.0.2:80"));
    match put("settings", "{", 2, 3) {
        Event::Put(kv) => fresh.load(&kv),
        Event::Delete { .. } => unreachable!(),
    }
    fresh.loaded(3);
    assert_eq!(fresh.kept(), []);
    fresh.keep_from(&table);
    assert_eq!(fresh.kept(), good);
    apply(&mut table, &delete("instances/a/2", 4));
    assert_eq!(table.kept(), good[..3]);
    apply(&mut table, &delete("settings", 5));
    assert_eq!(table.kept(), []);
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
    table.load(&kv("settings", r#"{"defaults":{"retries":2}}"#));
    let whole = table.records(None, usize::MAX);
    assert_eq!(whole.len(), 7 + 1 + 7 + 21 - 1);
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

/// What the last revision touched.
fn touched(table: &Table) -> Vec<String> {
    let touched = table.touched_since(table.revision() - 1).unwrap();
    touched.into_iter().map(ToString::to_string).collect()
}

#[test]
fn settings_touch_only_what_they_change() {
    let mut table = Table::new();
    table.load(&kv("apps/a", r#"{"retries":2}"#));
    table.load(&kv("apps/b", r#"{"health_check":{}}"#));
    for (key, value) in [
        ("instances/a/1", "10.0.0.1:80"),
        ("instances/a/2", "10.0.0.2:80"),
        ("instances/b/1", "10.1.0.1:80"),
        ("instances/c/1", "10.2.0.1:80"),
        ("instances/c/2", "10.2.0.2:80"),
    ] {
        table.load(&kv(key, value));
    }
    for key in ["health/a/1", "health/b/1", "health/c/1"] {
        table.load(&kv_at(key, DOWN, 3));
    }
    table.loaded(3);
    let mut set = |revision, value: &str| {
        apply(&mut table, &put("settings", value, 4, revision));
        touched(&table)
    };
    assert_eq!(set(4, r#"{"allowed_networks":["10.0.0.0/8"]}"#), [""; 0]);
    assert_eq!(
        set(5, r#"{"allowed_networks":["10.0.0.0/15"]}"#),
        ["inst:c 1", "inst:c 2"]
    );
    assert_eq!(
        set(6, r#"{"allowed_networks":["10.2.0.0/16"]}"#),
        ["inst:a 1", "inst:a 2", "inst:b 1", "inst:c 1", "inst:c 2"]
    );
    // A policy of its own comes before the default.
    assert_eq!(
        set(7, r#"{"defaults":{"retries":5}}"#),
        ["app:*", "app:b", "inst:a 1", "inst:a 2", "inst:b 1"]
    );
    // The check is in no record; but where an app has none of its own, it counts.
    assert_eq!(
        set(8, r#"{"defaults":{"retries":5,"health_check":{}}}"#),
        ["app:*", "inst:a 1", "inst:c 1"]
    );
    assert_eq!(set(9, r#"{"defaults":{"retries":5}}"#).len(), 3);
    // What the edge does anyway is in no record either.
    assert_eq!(set(10, r#"{"defaults":{"retries":1}}"#), ["app:*", "app:b"]);
    assert_eq!(set(11, "{}"), ["app:*"]);
}

fn kv_at(key: &str, value: &str, mod_revision: Revision) -> KeyValue {
    match put(key, value, 2, mod_revision) {
        Event::Put(kv) => kv,
        Event::Delete { .. } => unreachable!(),
    }
}

#[test]
fn what_a_bad_policy_freezes_is_kept_for_a_redis_that_loses_it() {
    let mut table = Table::new();
    table.load(&kv("apps/a", CHECKED));
    table.load(&kv("instances/a/1", "10.0.0.1:80"));
    table.load(&kv("instances/a/2", "10.0.0.2:80"));
    table.load(&kv_at("health/a/1", DOWN, 3));
    table.loaded(3);
    let good = table.records(None, usize::MAX);
    apply(&mut table, &put("apps/a", "{", 2, 4));
    assert_eq!(table.kept(), good[..2], "the policy, and what is unhealthy");
    // What probes find meanwhile freezes an instance, too.
    apply(&mut table, &put("health/a/2", DOWN, 5, 5));
    assert_eq!(table.kept(), good);
    let mut fresh = Table::new();
    fresh.load(&kv_at("apps/a", "{", 4));
    fresh.load(&kv("instances/a/1", "10.0.0.1:80"));
    fresh.load(&kv("instances/a/2", "10.0.0.2:80"));
    fresh.load(&kv_at("health/a/1", DOWN, 3));
    fresh.loaded(5);
    fresh.keep_from(&table);
    assert_eq!(fresh.kept(), good[..2], "the other one is not frozen");
    apply(&mut table, &delete("apps/a", 6));
    assert_eq!(table.kept(), []);
}

#[test]
fn the_addresses_that_are_shown_are_as_few_as_asked_for() {
    let mut table = Table::new();
    for i in 0..4 {
        let created = Revision::from(i) + 2;
        for addr in ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"] {
            let id = addr.replace([':', '.'], "-");
            let key = format!("instances/a{i}/{id}");
            match put(&key, addr, created, created) {
                Event::Put(kv) => table.load(&kv),
                Event::Delete { .. } => unreachable!(),
            }
        }
    }
    table.loaded(9);
    assert_eq!((table.contested_count(), table.shadowed_count()), (3, 9));
    let names = |limit| -> Vec<_> {
        let shown = table.shadowed(limit).into_iter();
        shown.map(|s| s.displaced.len()).collect()
    };
    assert_eq!(names(9), [3, 3, 3]);
    assert_eq!(names(4), [3, 1]);
    assert_eq!(
        names(2),
        [2],
        "the weakest first, and no more than asked for"
    );
    assert_eq!(names(0), [0; 0]);
    // An address that is not allowed is not contested.
    let settings = r#"{"allowed_networks":["10.0.0.2/31"]}"#;
    apply(&mut table, &put("settings", settings, 10, 10));
    assert_eq!((table.contested_count(), table.shadowed_count()), (2, 6));
    apply(&mut table, &delete("instances/a3/10-0-0-1-80", 11));
    apply(&mut table, &delete("instances/a3/10-0-0-2-80", 12));
    assert_eq!((table.contested_count(), table.shadowed_count()), (2, 5));
    apply(&mut table, &delete("settings", 13));
    assert_eq!((table.contested_count(), table.shadowed_count()), (3, 7));
}

#[test]
fn keys_of_instances_come_in_their_own_order_page_by_page() {
    let mut table = Table::new();
    for app in ["a", "a-b", "a.b", "a0", "ab", "b"] {
        for id in ["1", "2", "3"] {
            let key = format!("instances/{app}/{id}");
            let next = table.revision() + 1;
            apply(&mut table, &put(&key, "10.0.0.1:80", 2, next));
        }
    }
    for gone in [
        "instances/ab/1",
        "instances/b/1",
        "instances/b/2",
        "instances/b/3",
    ] {
        let next = table.revision() + 1;
        apply(&mut table, &delete(gone, next));
    }
    let all = table.instance_keys(None, usize::MAX);
    let keys: Vec<_> = all.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys.len(), 14);
    assert!(keys.is_sorted(), "{keys:?}");
    for limit in 1..=15 {
        let mut paged = Vec::new();
        loop {
            let last = paged.last().map(|(key, _): &(String, _)| key);
            let after = last.map(|key| key.strip_prefix("instances/").unwrap());
            let page = table.instance_keys(after, limit);
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, all);
    }
}

#[test]
fn orphans_come_in_pages_by_names_looked_at() {
    let mut table = Table::new();
    table.load(&kv("apps/a", CHECKED));
    for i in 0..5 {
        table.load(&kv_at(&format!("health/a/{i}"), DOWN, 3));
        table.load(&kv_at(&format!("overrides/a/{}", i * 2), DRAINING, 3));
    }
    table.load(&kv("instances/a/2", "10.0.0.2:80"));
    table.loaded(3);
    let whole = table.orphans_behind(None, usize::MAX);
    assert_eq!((whole.orphans.len(), whole.last), (8, None));
    for limit in 1..=8 {
        let (mut paged, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = table.orphans_behind(after.as_deref(), limit);
            assert!(page.orphans.len() <= 2 * limit);
            paged.extend(page.orphans);
            after = page.last;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(paged, whole.orphans, "{limit} names at a time");
    }
}

#[test]
fn what_was_touched_is_told_as_long_as_it_is_not_too_much() {
    let mut table = Table::new();
    table.loaded(1);
    let events: Vec<_> = (0..15_000)
        .map(|i| put(&format!("instances/a/{i}"), "bad", 2, 2))
        .collect();
    table.apply(2, &events);
    assert_eq!(table.touched_since(1).unwrap().len(), 15_000);
    table.apply(3, &events);
    assert_eq!(table.touched_since(1), None);
    assert_eq!(table.touched_since(2).unwrap().len(), 15_000);
    assert_eq!(table.touched_since(3).unwrap().len(), 0);
    for revision in 4..=20 {
        table.apply(revision, &events);
    }
    assert_eq!(table.touched_since(7), None, "it is forgotten");
    assert_eq!(table.touched_since(19).unwrap().len(), 15_000);
}

#[test]
fn what_was_kept_is_left_out_once_another_has_the_address_and_forgotten_at_last() {
    let mut table = Table::new();
    table.load(&kv("instances/a/1", "10.0.0.1:80"));
    table.load(&kv("instances/a/2", "10.0.0.2:80"));
    table.loaded(2);
    let good = table.records(None, usize::MAX);
    apply(&mut table, &put("instances/a/1", "bad", 2, 3));
    assert_eq!(table.kept(), good[..1]);
    apply(&mut table, &put("instances/a/1", "worse", 2, 4));
    assert_eq!(table.kept(), good[..1], "the last good one");
    apply(&mut table, &put("instances/b/1", "10.0.0.1:80", 5, 5));
    assert_eq!(table.kept(), []);
    apply(&mut table, &delete("instances/b/1", 6));
    assert_eq!(table.kept(), good[..1]);
    // Heartbeats while the settings are bad change nothing of it.
    apply(&mut table, &put("settings", "{", 7, 7));
    apply(&mut table, &put("instances/a/2", "10.0.0.2:80", 2, 8));
    assert_eq!(table.kept(), good);
    apply(&mut table, &delete("settings", 9));
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 2, 10));
    assert_eq!(format!("{:?}", table.frozen), "Frozen({})");
}
