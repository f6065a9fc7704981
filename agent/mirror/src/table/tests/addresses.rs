//! Who has an address.

use super::*;

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
