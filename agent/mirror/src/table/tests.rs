mod random;

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
        "registered anew, it is in use"
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
    // A table that is loaded anew takes them over.
    let mut anew = Table::new();
    anew.load(&kv("apps/a", r#"{"max_conns":7}"#));
    anew.load(&kv("instances/a/1", "10.0.0.1:80"));
    anew.load(&kv("instances/a/2", "10.0.0.2:80"));
    match put("settings", "{", 2, 3) {
        Event::Put(kv) => anew.load(&kv),
        Event::Delete { .. } => unreachable!(),
    }
    anew.loaded(3);
    assert_eq!(anew.kept(), []);
    anew.keep_from(&table);
    assert_eq!(anew.kept(), good);
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
