//! Instances that wait for their first good probe.

use super::*;

const UP: &str = r#"{"up":true}"#;
const BOOTING: &str = r#"{"up":false,"pending":true,"reason":"no connection"}"#;
const LIVE: &str = r#"inst:a 1=["5","10.0.0.1:80",100]"#;
const GONE: &str = "inst:a 1=gone";

fn state(table: &Table) -> InstanceState {
    table.instance_state("a", "1").unwrap()
}

fn pending(reason: Option<&str>) -> InstanceState {
    let reason = reason.map(str::to_owned);
    InstanceState::Pending { reason }
}

/// A registry that has pending instances since revision 2, and an app with a
/// check since 3.
fn checked(policy: &str) -> Table {
    let mut table = Table::new();
    apply(&mut table, &put("pending", "{}", 2, 2));
    apply(&mut table, &put("apps/a", policy, 3, 3));
    table
}

#[test]
fn a_new_instance_gets_no_requests_before_its_first_good_probe() {
    let mut table = checked(CHECKED);
    let instance = put("instances/a/1", "10.0.0.1:80", 5, 5);
    assert_eq!(apply(&mut table, &instance), [GONE]);
    assert_eq!(state(&table), pending(None));
    let app = table.apps("", None, 9).remove(0);
    assert_eq!(
        (app.instances, app.live),
        (1, 0),
        "even if it is the only one"
    );
    assert!(table.has_key_of(&Element::Instance("a".into(), "1".into())));
    assert_eq!(apply(&mut table, &put("health/a/1", BOOTING, 6, 6)), [GONE]);
    assert_eq!(state(&table), pending(Some("no connection")));
    assert_eq!(apply(&mut table, &put("health/a/1", UP, 6, 7)), [LIVE]);
    assert_eq!(state(&table), InstanceState::Live);
    // A heartbeat makes no new one; a new registration does.
    let again = put("instances/a/1", "10.0.0.1:80", 5, 8);
    assert_eq!(apply(&mut table, &again), [LIVE.replace("\"5\"", "\"8\"")]);
    assert_eq!(apply(&mut table, &delete("instances/a/1", 9)), [GONE]);
    let restarted = put("instances/a/1", "10.0.0.1:80", 10, 10);
    assert_eq!(apply(&mut table, &restarted), [GONE]);
    assert_eq!(state(&table), pending(None));
}

#[test]
fn a_check_may_let_new_instances_in_at_once() {
    let mut table = checked(r#"{"health_check":{"initial":"healthy"}}"#);
    let instance = put("instances/a/1", "10.0.0.1:80", 5, 5);
    assert_eq!(apply(&mut table, &instance), [LIVE]);
    assert_eq!(state(&table), InstanceState::Live);
}

#[test]
fn nothing_is_pending_that_ran_before_something_asked_for_it() {
    let instance = put("instances/a/1", "10.0.0.1:80", 5, 5);
    // The app gets a check.
    let mut table = checked("{}");
    apply(&mut table, &instance);
    apply(&mut table, &put("apps/a", CHECKED, 3, 6));
    assert_eq!(state(&table), InstanceState::Live);
    // All apps get one.
    let mut table = checked("{}");
    apply(&mut table, &instance);
    let settings = r#"{"defaults":{"health_check":{}}}"#;
    apply(&mut table, &put("settings", settings, 6, 6));
    assert_eq!(state(&table), InstanceState::Live);
    apply(&mut table, &put("instances/a/2", "10.0.0.2:80", 7, 7));
    let found = table.instance_state("a", "2").unwrap();
    assert_eq!(found, pending(None), "by the defaults");
    // Agents of before knew no pending instances.
    let mut table = Table::new();
    apply(&mut table, &put("apps/a", CHECKED, 3, 3));
    assert_eq!(apply(&mut table, &instance), [LIVE]);
    apply(&mut table, &put("pending", "{}", 6, 6));
    assert_eq!(state(&table), InstanceState::Live);
}

#[test]
fn a_policy_that_changes_lets_no_instance_in_that_probes_found_booting() {
    let mut table = checked(CHECKED);
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 5, 5));
    apply(&mut table, &put("health/a/1", BOOTING, 6, 6));
    let changed = r#"{"retries":3,"health_check":{}}"#;
    apply(&mut table, &put("apps/a", changed, 3, 7));
    assert_eq!(state(&table), pending(Some("no connection")));
    // Without a check nothing would ever let it in.
    let rows = apply(&mut table, &put("apps/a", "{}", 3, 8));
    assert_eq!(rows, [r#"app:a={"rev":"8"}"#, LIVE]);
    let rows = apply(&mut table, &put("apps/a", CHECKED, 3, 9));
    assert_eq!(rows, [r#"app:a={"rev":"9"}"#, GONE]);
}

#[test]
fn when_a_policy_goes_the_defaults_say_what_is_pending() {
    // It may as well stay, and say nothing of a check.
    let without = r#"app:a={"rev":"6","retries":3}"#;
    let ways = [
        (put("apps/a", r#"{"retries":3}"#, 3, 6), without),
        (delete("apps/a", 6), "app:a=gone"),
    ];
    for own in [r#"{"health_check":{"initial":"healthy"}}"#, "bad"] {
        for (event, app) in &ways {
            let mut table = checked(own);
            let settings = r#"{"defaults":{"health_check":{}}}"#;
            apply(&mut table, &put("settings", settings, 4, 4));
            let instance = put("instances/a/1", "10.0.0.1:80", 5, 5);
            assert_eq!(apply(&mut table, &instance), [LIVE]);
            assert_eq!(apply(&mut table, event), [*app, GONE], "{own}");
            assert_eq!(apply(&mut table, &put("health/a/1", UP, 7, 7)), [LIVE]);
        }
    }
}

#[test]
fn a_policy_touches_only_those_that_its_check_concerns() {
    let mut table = checked(CHECKED);
    for n in 1..=3 {
        let (key, addr) = (format!("instances/a/{n}"), format!("10.0.0.{n}:80"));
        apply(&mut table, &put(&key, &addr, 5, 5 + n));
        if n > 1 {
            apply(&mut table, &put(&format!("health/a/{n}"), UP, 9, 9 + n));
        }
    }
    let changed = r#"{"retries":3,"health_check":{}}"#;
    let rows = apply(&mut table, &put("apps/a", changed, 3, 20));
    // The one of which nothing is known is not to be kept out by the change.
    let app = r#"app:a={"rev":"20","retries":3}"#;
    assert_eq!(rows, [app, r#"inst:a 1=["6","10.0.0.1:80",100]"#]);
}

#[test]
fn an_instance_that_drains_while_it_is_pending_stays_known_to_the_edges() {
    let mut table = checked(CHECKED);
    apply(&mut table, &put("instances/a/1", "10.0.0.1:80", 5, 5));
    let draining = r#"inst:a 1=["5","10.0.0.1:80",100,{"draining":1,"down":1}]"#;
    let rows = apply(&mut table, &put("overrides/a/1", DRAINING, 6, 6));
    assert_eq!(rows, [draining], "they count what is in flight on it");
    assert_eq!(state(&table), InstanceState::Draining);
    assert_eq!(apply(&mut table, &delete("overrides/a/1", 7)), [GONE]);
}
