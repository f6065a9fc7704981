//! Who displaces whom, and what a write would collide with.

use super::*;

const IDLE: &str = r#"{"addr":"10.0.0.1:80","weight":0}"#;
const AT_1: &str = "10.0.0.1:80";

fn state(table: &Table, app: &str) -> InstanceState {
    table.instance_state(app, "1").unwrap()
}

#[test]
fn an_instance_without_weight_displaces_nobody() {
    let mut table = Table::new();
    apply(&mut table, &put("instances/a/1", AT_1, 2, 2));
    assert_eq!(
        apply(&mut table, &put("instances/b/1", IDLE, 3, 3)),
        ["inst:b 1=gone"]
    );
    assert_eq!(state(&table, "a"), InstanceState::Live);
    // With a weight it does, and without one again the first is back.
    apply(&mut table, &put("instances/b/1", AT_1, 3, 4));
    assert_eq!(state(&table, "b"), InstanceState::Live);
    assert!(matches!(state(&table, "a"), InstanceState::Shadowed { .. }));
    assert_eq!(
        apply(&mut table, &put("instances/b/1", IDLE, 3, 5)),
        [r#"inst:a 1=["2","10.0.0.1:80",100]"#, "inst:b 1=gone"]
    );
}

#[test]
fn a_draining_instance_displaces_nobody() {
    let mut table = Table::new();
    apply(&mut table, &put("instances/a/1", AT_1, 2, 2));
    apply(&mut table, &put("instances/b/1", AT_1, 3, 3));
    assert_eq!(
        apply(&mut table, &put("overrides/b/1", DRAINING, 4, 4)),
        [r#"inst:a 1=["2","10.0.0.1:80",100]"#, "inst:b 1=gone"]
    );
    assert_eq!(
        apply(&mut table, &delete("overrides/b/1", 5)),
        ["inst:a 1=gone", r#"inst:b 1=["3","10.0.0.1:80",100]"#]
    );
}

#[test]
fn a_special_address_derives_to_nothing_and_is_shown_as_bad() {
    let mut table = Table::new();
    for addr in [
        "127.0.0.1:8081",
        "169.254.169.254:80",
        "[64:ff9b::127.0.0.1]:80",
    ] {
        let next = table.revision() + 1;
        let put = put("instances/a/1", addr, 2, next);
        assert_eq!(apply(&mut table, &put), ["inst:a 1=gone"]);
        assert_eq!(state(&table, "a"), InstanceState::NotAllowed);
        assert_eq!(table.bad().count(), 1);
    }
    let settings = r#"{"allowed_networks":["127.0.0.0/8"]}"#;
    apply(&mut table, &put("instances/a/1", "127.0.0.1:80", 9, 9));
    assert_eq!(
        apply(&mut table, &put("settings", settings, 10, 10)),
        [r#"inst:a 1=["9","127.0.0.1:80",100]"#]
    );
}

#[test]
fn a_stored_policy_beyond_a_ceiling_is_clamped() {
    let mut table = Table::new();
    apply(&mut table, &put("apps/a", r#"{"read_timeout":"1h"}"#, 2, 2));
    let settings = r#"{"ceilings":{"read_timeout":"30s","health_check_interval":"1m"}}"#;
    assert_eq!(
        apply(&mut table, &put("settings", settings, 3, 3)),
        [
            r#"app:*={"rev":"3","read_timeout_ms":30000}"#,
            r#"app:a={"rev":"2","read_timeout_ms":30000}"#
        ]
    );
    let check = r#"{"health_check":{"interval":"1s"}}"#;
    apply(&mut table, &put("apps/a", check, 2, 4));
    apply(&mut table, &put("instances/a/1", AT_1, 5, 5));
    let probed = table.probed("a", "1").unwrap();
    assert_eq!(probed.check.interval(), std::time::Duration::from_secs(60));
}

#[test]
fn it_knows_what_a_write_would_collide_with() {
    let mut table = Table::new();
    apply(&mut table, &put("routes/*.example.com", SHOP, 2, 2));
    apply(&mut table, &put("instances/a/1", AT_1, 3, 3));
    apply(&mut table, &put("instances/a/2", "10.0.1.1:80", 4, 4));
    let above = table.wildcard_above("a.b.example.com").unwrap();
    assert_eq!((&*above.host, above.apps.len()), ("*.example.com", 1));
    assert_eq!(table.wildcard_above("*.example.com"), None);
    assert_eq!(table.wildcard_above("example.com"), None);
    assert!(!table.has_routes_beneath("*.example.com") && table.has_routes_beneath("*"));
    let (app, _) = table
        .serving_at(pointsman_model::Address::new(AT_1).unwrap())
        .unwrap();
    assert_eq!(&*app, "a");
    let settings = Settings::from_value(br#"{"allowed_networks":["10.0.0.0/24"]}"#).unwrap();
    let found = table.out_of_service(&settings, None, 9);
    assert_eq!((found.live, found.lost, found.last), (2, 1, None));
}
