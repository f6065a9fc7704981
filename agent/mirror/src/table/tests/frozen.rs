//! What bad values freeze.

use super::*;

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
