//! The sync with a store in memory and a real Redis: what it writes, what it
//! leaves alone, and how it finds its way back.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod bench;
mod emptied;
mod foreign;
mod formats;
mod holding;
mod large;
mod pieces;

use bench::{Bench, SHOP};
use pointsman_model::Element;
use pointsman_store::{Condition, Store};

#[tokio::test]
async fn fills_an_empty_redis_once_though_two_agents_start() {
    let mut bench = Bench::start().await;
    for i in 0..1_200 {
        bench.put(&format!("routes/h{i}.example.com"), SHOP).await;
    }
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.add_agent("a");
    bench.add_agent("b");
    bench.settled().await;
    let resets = bench
        .stream()
        .await
        .into_iter()
        .filter(|e| e["kind"] == "reset")
        .count();
    assert_eq!(resets, 1, "one of the two rebuilt, the other followed");
}

#[tokio::test]
async fn each_change_is_announced_once_in_an_unbroken_chain() {
    let mut bench = Bench::start().await;
    bench.add_agent("a");
    bench.add_agent("b");
    bench.settled().await;
    for i in 0..200 {
        bench
            .put(
                &format!("instances/shop/{}", i % 7),
                &format!("10.0.0.{}:80", i % 250 + 1),
            )
            .await;
    }
    bench
        .store
        .commit(&[("routes/a.example", Some(SHOP)), ("instances/shop/1", None)]);
    bench.settled().await;
    let batches: Vec<_> = bench
        .stream()
        .await
        .into_iter()
        .filter(|entry| entry["kind"] == "batch")
        .collect();
    let mut at: i64 = batches[0]["from"].parse().unwrap();
    for entry in &batches {
        assert_eq!(
            entry["from"],
            at.to_string(),
            "the chain breaks at {entry:?}"
        );
        at = entry["id"].split_once('-').unwrap().0.parse().unwrap();
    }
    assert_eq!(at, bench.store.revision());
    assert!(batches.last().unwrap()["changes"].contains(r#"["inst:shop","1",null]"#));
}

#[tokio::test]
async fn a_restarted_agent_goes_on_where_redis_stands() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("a");
    bench.settled().await;
    let claim = bench.meta("claim").await;
    bench.stop_agents().await;
    bench.put("routes/b.example", SHOP).await;
    bench.delete("routes/a.example").await;
    bench.add_agent("a2");
    bench.settled().await;
    assert_eq!(bench.meta("claim").await, claim, "it was no rebuild");
}

#[tokio::test]
async fn what_was_deleted_before_a_compaction_is_found_by_a_rebuild() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.put("instances/shop/2", "10.0.0.2:80").await;
    bench.add_agent("a");
    bench.settled().await;
    bench.stop_agents().await;
    bench.delete("routes/a.example").await;
    bench.delete("instances/shop/1").await;
    bench.store.compact(bench.store.revision());
    bench.add_agent("a2");
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 1);
}

#[tokio::test]
async fn wrong_types_in_redis_are_cleared_away() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.add_agent("a");
    bench.settled().await;
    for (spoil, touch) in [
        (
            &["LPUSH", "pointsman:route:b.example", "x"][..],
            Some("routes/b.example"),
        ),
        (
            &["SET", "pointsman:inst:blog", "x"],
            Some("instances/blog/1"),
        ),
        (&["SET", "pointsman:changes", "x"], Some("routes/c.example")),
        (&["SET", "pointsman:meta", "x"], None),
        (&["HSET", "pointsman:meta", "rev", "many"], None),
    ] {
        if spoil[0] == "SET" {
            bench.command(&["DEL", spoil[1]]).await;
        }
        bench.command(spoil).await;
        if let Some(key) = touch {
            let value = if key.starts_with("routes") {
                SHOP
            } else {
                "10.0.0.9:80"
            };
            bench.put(key, value).await;
        }
        bench.settled_after(spoil[0]).await;
    }
}

#[tokio::test]
async fn a_bad_value_leaves_the_last_good_one_in_redis_even_over_a_rebuild() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.add_agent("a");
    bench.settled().await;
    let good = bench.content().await;
    bench.put("routes/a.example", "{").await;
    bench.put("instances/shop/1", "example.com:80").await;
    bench.settled().await;
    assert_eq!(bench.content().await, good);
    // A rebuild, forced by a wrong type elsewhere.
    bench.command(&["SET", "pointsman:inst:blog", "x"]).await;
    bench.put("instances/blog/1", "10.0.0.2:80").await;
    bench.settled().await;
    let now = bench.content().await;
    assert_eq!(
        now[&Element::Route("a.example".into())],
        good[&Element::Route("a.example".into())]
    );
    bench.delete("routes/a.example").await;
    bench.delete("instances/shop/1").await;
    bench.settled().await;
    assert_eq!(
        bench.content().await.len(),
        1,
        "deleting a bad key deletes its element"
    );
}

#[tokio::test]
async fn a_rebuild_that_stands_still_is_taken_over() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("epoch", "e").await;
    bench
        .command(&[
            "HSET",
            "pointsman:meta",
            "format",
            "1",
            "epoch",
            "e",
            "rev",
            "1",
            "state",
            "building",
            "claim",
            "2",
            "next",
            "1",
        ])
        .await;
    bench
        .command(&["SET", "pointsman:route:gone.example", "old"])
        .await;
    bench.add_agent("a");
    bench.add_agent("b");
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 1);
}

#[tokio::test]
async fn what_differs_at_rest_is_found_and_put_right() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("routes/b.example", SHOP).await;
    bench.put("apps/shop", "{}").await;
    bench.put("instances/shop-x/1", "10.0.1.1:80").await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.put("instances/shop/2", "10.0.0.2:80").await;
    bench.add_reconciling_agent("a");
    bench.settled().await;
    for spoil in [
        &["SET", "pointsman:route:a.example", "garbage"][..],
        &["DEL", "pointsman:route:b.example"],
        &["SET", "pointsman:route:stray.example", "x"],
        &["HSET", "pointsman:inst:shop", "1", "[]"],
        &["HDEL", "pointsman:inst:shop", "2"],
        &["HSET", "pointsman:inst:blog", "9", "[]"],
        &["DEL", "pointsman:app:shop"],
    ] {
        bench.command(spoil).await;
        bench.settled_after(&spoil.join(" ")).await;
    }
    let claim = bench.meta("claim").await;
    bench.store.lose_deletion("instances/shop/2");
    bench.put("routes/c.example", SHOP).await;
    bench.settled_after("a lost deletion").await;
    assert_eq!(bench.meta("claim").await, claim, "repairs need no rebuild");
    let repairs = bench
        .stream()
        .await
        .into_iter()
        .filter(|e| e["kind"] == "repair")
        .count();
    assert!(repairs >= 7, "{repairs} repairs are announced to the edges");
}

#[tokio::test]
async fn a_redis_that_went_back_a_little_is_caught_up_by_one_batch() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.add_agent("a");
    bench.settled().await;
    let (rev, claim) = (bench.meta("rev").await, bench.meta("claim").await);
    let before = bench.content().await;
    bench.delete("routes/a.example").await;
    bench.put("routes/b.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.7:80").await;
    bench.settled().await;
    let changed: i64 = bench.meta("rev").await.parse().unwrap();
    // A replica that had not heard of the last three changes takes over.
    bench.set_back(&rev, &before).await;
    bench.settled().await;
    assert_eq!(bench.meta("claim").await, claim, "it was no rebuild");
    // The stream had gone as well. (An agent may say that it is there at any
    // time: a revision of its own, and a batch without changes.)
    let stream = bench.stream().await;
    assert_eq!(
        (stream[0]["from"].as_str(), stream[0]["kind"].as_str()),
        (rev.as_str(), "batch")
    );
    if let Some(next) = stream.get(1) {
        assert!(
            next["from"].parse::<i64>().unwrap() >= changed,
            "{stream:?}"
        );
    }
}

#[tokio::test]
async fn an_etcd_or_redis_that_is_away_is_waited_for() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("a");
    bench.settled().await;
    bench.store.set_down(true);
    bench.says("etcd is away", |s| !s.etcd_connected).await;
    bench.store.set_down(false);
    bench.put("routes/b.example", SHOP).await;
    bench.settled().await;
    bench.pause_redis();
    for i in 0..50 {
        bench.put(&format!("routes/c{i}.example"), SHOP).await;
    }
    bench.resume_redis();
    bench.settled().await;
    assert!(bench.status().etcd_connected && bench.status().redis_connected);
}

#[tokio::test]
async fn leases_that_end_take_their_instances_with_them() {
    let mut bench = Bench::start().await;
    bench.add_agent("a");
    let lease = bench.store.lease_grant(60).await.unwrap();
    bench
        .store
        .put("instances/shop/1", b"10.0.0.1:80", lease, Condition::Always)
        .await
        .unwrap();
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 1);
    bench.store.expire(lease);
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 0);
}
