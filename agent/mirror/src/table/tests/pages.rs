//! Long answers, page by page.

use super::*;

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
