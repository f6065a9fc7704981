//! What agents hold back, what an operator's word changes, and what they keep.

use pointsman_model::{Adoption, Element};
use pointsman_publish::Phase;
use pointsman_publish::operator;
use pointsman_store::Store;

use crate::bench::{Bench, SHOP};

#[tokio::test]
async fn holds_while_redis_holds_the_table_of_another_registry() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("a");
    bench.settled().await;
    bench.stop_agents().await;
    bench
        .command(&["HSET", "pointsman:meta", "epoch", "somebody-else"])
        .await;
    let before = bench.content().await;
    bench.add_agent("a2");
    bench.phase(Phase::Holding).await;
    bench.put("routes/b.example", SHOP).await;
    // What it saw the first time may have been older than the route.
    bench.agent_looks(2).await;
    assert_eq!(bench.content().await, before);
    let reason = bench.status().hold_reason.unwrap();
    assert!(reason.contains("somebody-else"), "{reason}");
    assert!(!bench.status().ready);
}

#[tokio::test]
async fn holds_when_etcd_was_emptied_and_keeps_what_redis_has() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("a");
    bench.settled().await;
    let before = bench.content().await;
    bench.store.wipe();
    bench.phase(Phase::Holding).await;
    bench.agent_looks(2).await;
    assert_eq!(bench.content().await, before);
    let epoch = bench.store.get("epoch").await.unwrap().0;
    assert!(
        epoch.is_none(),
        "an emptied etcd is not given a name by itself"
    );
}

#[tokio::test]
async fn holds_and_then_goes_on_when_an_operator_gives_the_table_to_a_new_epoch() {
    let mut bench = Bench::start().await;
    for i in 0..30 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
    }
    bench.add_agent("a");
    bench.settled().await;
    let sides = operator::look(&bench.store, &bench.sink()).await.unwrap();
    let fits = operator::adopt(&bench.store, &sides).await.unwrap_err();
    assert!(fits.to_string().contains("fit together"), "{fits}");

    bench.store.wipe();
    bench.phase(Phase::Holding).await;
    bench.put("routes/new.example", SHOP).await;
    let sides = operator::look(&bench.store, &bench.sink()).await.unwrap();
    assert_eq!((sides.etcd.routes, sides.held, sides.lacking), (1, 30, 30));
    let epoch = operator::adopt(&bench.store, &sides).await.unwrap();
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 1);
    assert_eq!(bench.meta("epoch").await, epoch);
    bench.put("routes/newer.example", SHOP).await;
    bench.settled().await;
}

#[tokio::test]
async fn an_adoption_of_another_table_allows_nothing() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("a");
    bench.settled().await;
    bench.stop_agents().await;
    bench.store.wipe();
    let adoption = Adoption {
        epoch: "fresh".into(),
        replaces: "not this one".into(),
    };
    bench.put("adopt", &adoption.to_value()).await;
    bench.put("epoch", "fresh").await;
    bench.add_agent("b");
    bench.phase(Phase::Holding).await;
    assert_eq!(bench.content().await.len(), 1);
}

#[tokio::test]
async fn a_listing_that_lacks_most_of_redis_waits_for_a_word() {
    let mut bench = Bench::start().await;
    for i in 0..30 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
    }
    bench.add_agent("a");
    bench.settled().await;
    bench.stop_agents().await;
    for i in 0..20 {
        bench.delete(&format!("routes/h{i}.example")).await;
    }
    bench.store.compact(bench.store.revision());
    bench.add_agent("b");
    bench.phase(Phase::Holding).await;
    let reason = bench.status().hold_reason.unwrap();
    assert!(reason.contains("lacks 20 of the 30 routes"), "{reason}");
    assert_eq!(bench.content().await.len(), 30);
    let sides = operator::look(&bench.store, &bench.sink()).await.unwrap();
    operator::confirm(&bench.store, &sides).await.unwrap();
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 10);
}

#[tokio::test]
async fn a_listing_that_lacks_all_routes_waits_for_a_word_however_many_instances_stay() {
    let mut bench = Bench::start().await;
    for i in 0..40 {
        let address = format!("10.0.0.{i}:80");
        bench.put(&format!("instances/shop/{i}"), &address).await;
    }
    for i in 0..12 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
    }
    bench.add_agent("a");
    bench.settled().await;
    bench.stop_agents().await;
    for i in 0..12 {
        bench.delete(&format!("routes/h{i}.example")).await;
    }
    bench.store.compact(bench.store.revision());
    bench.add_agent("b");
    bench.phase(Phase::Holding).await;
    let reason = bench.status().hold_reason.unwrap();
    assert!(reason.contains("lacks 12 of the 12 routes"), "{reason}");
    bench.agent_looks(2).await;
    assert_eq!(bench.content().await.len(), 52);
    let sides = operator::look(&bench.store, &bench.sink()).await.unwrap();
    let shown = sides.to_string();
    assert!(shown.contains("etcd lacks 12 of the 12 routes"), "{shown}");
    operator::confirm(&bench.store, &sides).await.unwrap();
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 40);
}

#[tokio::test]
async fn deletions_of_all_routes_that_were_lost_wait_for_a_word() {
    let mut bench = Bench::start().await;
    for i in 0..40 {
        let address = format!("10.0.0.{i}:80");
        bench.put(&format!("instances/shop/{i}"), &address).await;
    }
    for i in 0..12 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
    }
    bench.add_reconciling_agent("a");
    bench.settled().await;
    for i in 0..12 {
        bench.store.lose_deletion(&format!("routes/h{i}.example"));
    }
    bench.phase(Phase::Holding).await;
    let reason = bench.status().hold_reason.unwrap();
    assert!(reason.contains("lacks 12 of the 12 routes"), "{reason}");
    bench.agent_looks(2).await;
    assert_eq!(bench.content().await.len(), 52);
}

#[tokio::test]
async fn another_etcd_of_the_same_epoch_that_is_ahead_is_not_believed() {
    let mut bench = Bench::start().await;
    for i in 0..20 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
    }
    bench.add_agent("a");
    bench.settled().await;
    bench.stop_agents().await;
    let (epoch, ahead) = (bench.meta("epoch").await, bench.store.revision() + 20);
    bench.store.wipe();
    bench.put("epoch", &epoch).await;
    while bench.store.revision() < ahead {
        bench.put("apps/other", "{}").await;
    }
    bench.add_reconciling_agent("b");
    bench.phase(Phase::Holding).await;
    assert!(
        bench
            .status()
            .hold_reason
            .unwrap()
            .contains("does not know the rebuild")
    );
    assert_eq!(bench.content().await.len(), 20);
}

#[tokio::test]
async fn deletions_that_were_lost_in_bulk_wait_for_a_word() {
    let mut bench = Bench::start().await;
    for i in 0..20 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
    }
    bench.add_reconciling_agent("a");
    bench.settled().await;
    for i in 0..15 {
        bench.store.lose_deletion(&format!("routes/h{i}.example"));
    }
    bench.phase(Phase::Holding).await;
    let reason = bench.status().hold_reason.unwrap();
    assert!(reason.contains("lacks 15 of the 20 routes"), "{reason}");
    assert_eq!(bench.content().await.len(), 20);
}

#[tokio::test]
async fn the_last_good_record_of_a_bad_key_survives_an_emptied_redis() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.put("instances/shop/2", "10.0.0.2:80").await;
    bench.add_agent("a");
    bench.settled().await;
    let good = bench.content().await;
    bench.put("routes/a.example", "{").await;
    bench.put("instances/shop/1", "nowhere").await;
    bench.put("instances/shop/2", "nowhere").await;
    // Its address belongs to another one now: it must not come back.
    bench.put("instances/blog/1", "10.0.0.2:80").await;
    bench.settled().await;
    bench.command(&["FLUSHALL"]).await;
    bench.settled().await;
    let now = bench.content().await;
    for element in [
        Element::Route("a.example".into()),
        Element::Instance("shop".into(), "1".into()),
    ] {
        assert_eq!(now.get(&element), good.get(&element), "{element}");
    }
    assert_eq!(now.len(), 3, "{now:?}");
}

#[tokio::test]
async fn deletions_that_come_as_events_are_never_held_back() {
    let mut bench = Bench::start().await;
    let keys: Vec<_> = (0..30).map(|i| format!("routes/h{i}.example")).collect();
    for key in &keys {
        bench.put(key, SHOP).await;
    }
    bench.add_agent("a");
    bench.settled().await;
    let deletions: Vec<_> = keys.iter().map(|key| (key.as_str(), None)).collect();
    bench.store.commit(&deletions);
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 0);
}
