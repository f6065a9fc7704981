//! What the settings shape.

use super::*;

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
