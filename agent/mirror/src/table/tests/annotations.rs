//! Overrides, and what probes found.

use super::*;

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
