//! A Redis that is emptied under running agents: what their tables are good
//! for, and when they are not.

use crate::bench::{Bench, SHOP};

async fn filled(routes: usize) -> Bench {
    let mut bench = Bench::start().await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    let keys: Vec<_> = (0..routes)
        .map(|i| format!("routes/h{i}.example"))
        .collect();
    let writes: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(SHOP))).collect();
    bench.store.commit(&writes);
    bench.add_agent("a");
    bench.settled().await;
    assert_eq!(bench.listings(), [1]);
    bench
}

#[tokio::test]
async fn a_redis_that_is_emptied_while_nothing_happens_is_filled_again() {
    let mut bench = filled(1).await;
    bench.command(&["FLUSHALL"]).await;
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 2);
    assert_eq!(bench.listings(), [1], "etcd is not listed again for that");
}

#[tokio::test]
async fn what_changes_while_it_is_filled_again_is_not_lost() {
    let mut bench = filled(5_000).await;
    let (mut changes, mut meanwhile) = (0, 0);
    // Until some of the changes came while it was being filled.
    for round in 0..4 {
        bench.command(&["FLUSHALL"]).await;
        loop {
            let state = bench.meta_if_there("state").await;
            match state.as_deref() {
                Some("ready") => break,
                Some(_) => meanwhile += 1,
                // It is not noticed yet: some changes are enough.
                None if changes > 1_000 * (round + 1) => continue,
                None => {}
            }
            changes += 1;
            bench
                .put(&format!("routes/new{changes}.example"), SHOP)
                .await;
            bench.delete(&format!("routes/h{changes}.example")).await;
        }
        bench.settled().await;
        let added = changes.max(5_000) - 5_000;
        assert_eq!(bench.content().await.len(), 5_001 + added);
        assert_eq!(bench.listings(), [1]);
        let resets = bench.stream().await;
        let resets: Vec<_> = resets.iter().filter(|e| e["kind"] == "reset").collect();
        assert_eq!(resets.len(), 1, "{resets:?}");
        if meanwhile > 0 {
            return;
        }
    }
    panic!("of {changes} changes none came while redis was being filled");
}

#[tokio::test]
async fn of_several_agents_one_fills_it_again_and_none_lists_etcd() {
    let mut bench = filled(2_000).await;
    bench.add_agent("b");
    bench.add_agent("c");
    bench.all_ready().await;
    let before = bench.listings();
    for i in 0..3 {
        bench.command(&["FLUSHALL"]).await;
        bench.settled_after("an emptying").await;
        bench.put(&format!("routes/new{i}.example"), SHOP).await;
        bench.settled_after("a change").await;
    }
    assert_eq!(bench.content().await.len(), 2_004);
    assert_eq!(bench.listings(), before);
}

#[tokio::test]
async fn one_that_is_set_back_far_costs_no_listing() {
    let mut bench = filled(6_000).await;
    let rev = bench.meta("rev").await;
    let before = bench.content().await;
    let keys: Vec<_> = (0..6_000).map(|i| format!("routes/h{i}.example")).collect();
    let gone: Vec<_> = keys[..5_500]
        .iter()
        .map(|key| (key.as_str(), None))
        .collect();
    bench.store.commit(&gone);
    bench.settled().await;
    // That is too much for one batch.
    bench.set_back(&rev, &before).await;
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 501);
    assert_eq!(bench.listings(), [1]);
}

#[tokio::test]
async fn with_another_epoch_etcd_is_listed_anew() {
    let mut bench = filled(3).await;
    bench.command(&["FLUSHALL"]).await;
    bench.put("epoch", "another").await;
    bench.meta_becomes("epoch", "another").await;
    bench.settled().await;
    assert_eq!(bench.listings(), [2]);
}

#[tokio::test]
async fn with_its_changes_compacted_away_etcd_is_listed_anew() {
    let mut bench = filled(3).await;
    bench.store.set_down(true);
    bench.command(&["FLUSHALL"]).await;
    bench.store.commit(&[("routes/h1.example", None)]);
    bench.store.commit(&[("routes/new.example", Some(SHOP))]);
    bench.store.compact(bench.store.revision());
    // The agent sees that Redis is empty, and asks etcd in vain.
    bench.agent_looks(2).await;
    bench.store.set_down(false);
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 4);
    assert_eq!(bench.listings(), [2]);
}

#[tokio::test]
async fn with_an_etcd_that_went_back_etcd_is_listed_anew() {
    let mut bench = filled(3).await;
    let epoch = bench.meta("epoch").await;
    for i in 0..20 {
        bench.put(&format!("routes/lost{i}.example"), SHOP).await;
    }
    bench.settled().await;
    bench.store.set_down(true);
    bench.command(&["FLUSHALL"]).await;
    bench.agent_looks(2).await;
    bench.store.wipe();
    bench
        .store
        .commit(&[("epoch", Some(&epoch)), ("routes/h0.example", Some(SHOP))]);
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 1);
    assert_eq!(bench.listings(), [2]);
}
