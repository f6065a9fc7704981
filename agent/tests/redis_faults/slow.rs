//! A Redis that forgets scripts, is slow, hangs, or is full.

use pointsman_harness::redis_node::{self};
use std::pin::pin;

use futures::poll;

use crate::bench::Bench;

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_anew() {
    let mut bench = Bench::start().await;
    let agent = bench.agent().await;
    let mut statuses = agent.statuses();
    for host in ["b.example", "c.example"] {
        bench.command("SCRIPT FLUSH SYNC").await;
        bench.put(host).await;
        let told = statuses.wait_for(|s| s.last_error.is_some());
        tokio::select! {
            biased;
            () = bench.settled() => {}
            status = told => panic!("{status:?}"),
        }
    }
    bench.chain_is_whole().await;
}

#[tokio::test]
async fn a_redis_slower_than_usual_is_waited_for_without_a_complaint() {
    let mut bench = Bench::start().await;
    let agent = bench.agent().await;
    let claim = bench.claim().await;
    let mut statuses = agent.statuses();
    let mut sleeper = bench.redis.connection().await;
    let mut asleep = pin!(redis_node::command::<String>(
        &mut sleeper,
        "DEBUG SLEEP 1.5"
    ));
    assert!(poll!(&mut asleep).is_pending());
    for n in 0..20 {
        bench.put(&format!("h{n}.example")).await;
    }
    let told = statuses.wait_for(|s| s.last_error.is_some());
    tokio::select! {
        biased;
        ((), _) = async { tokio::join!(bench.settled(), asleep) } => {}
        status = told => panic!("{status:?}"),
    }
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
    bench.chain_is_whole().await;
}

/// It may do what it was asked for after we gave up: the fence makes that
/// once.
#[tokio::test]
async fn a_redis_that_hangs_longer_than_an_answer_may_take_gets_each_change_once() {
    let mut bench = Bench::start().await;
    let mut agent = bench.agent().await;
    let claim = bench.claim().await;
    bench.redis.process.pause();
    for n in 0..20 {
        bench.put(&format!("h{n}.example")).await;
    }
    bench.delete("a.example").await;
    agent.tells("redis is away", |s| !s.redis_connected).await;
    bench.redis.process.resume();
    bench.settled().await;
    agent.tells("redis answers", |s| s.redis_connected).await;
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
    bench.chain_is_whole().await;
}

#[tokio::test]
async fn an_agent_starts_though_redis_neither_answers_nor_refuses() {
    let mut bench = Bench::start().await;
    bench.redis.process.pause();
    let mut agent = bench.agent_with(bench.redis.sink());
    agent
        .tells("redis is away", |s| {
            !s.redis_connected && s.last_error.is_some()
        })
        .await;
    assert!(!agent.status().ready);
    bench.redis.process.resume();
    bench.settled().await;
    agent.tells("it is ready", |s| s.ready).await;
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_empty_is_filled() {
    let mut bench = Bench::start().await;
    let mut agent = bench.agent().await;
    bench.redis.process.kill().await;
    agent.tells("redis is away", |s| !s.redis_connected).await;
    bench.put("b.example").await;
    bench.redis.process.respawn().await.unwrap();
    bench.connection = crate::faults::until("redis is back", async || {
        let client = redis::Client::open(bench.redis.url()).unwrap();
        let connection = client.get_multiplexed_async_connection().await;
        connection.map_err(|error| error.to_string())
    })
    .await;
    bench.settled().await;
}

/// A write that a full Redis refuses is repeated, as one of a replica; it is
/// no reason to write the whole table anew.
#[tokio::test]
async fn a_full_redis_is_told_of_and_goes_on_when_there_is_room() {
    let mut bench = Bench::start().await;
    let mut agent = bench.agent().await;
    let claim = bench.claim().await;
    bench.command("CONFIG SET maxmemory 1").await;
    bench.put("b.example").await;
    bench.delete("a.example").await;
    agent
        .tells("redis is full", |s| {
            !s.redis_connected && s.last_error.as_ref().is_some_and(|e| e.contains("OOM"))
        })
        .await;
    bench.command("CONFIG SET maxmemory 0").await;
    bench.settled().await;
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
    bench.chain_is_whole().await;
}

#[tokio::test]
async fn a_rebuild_into_a_full_redis_ends_when_there_is_room() {
    let mut bench = Bench::start().await;
    for n in 0..100 {
        bench.put(&format!("h{n}.example")).await;
    }
    bench.command("CONFIG SET maxmemory 1").await;
    let mut agent = bench.agent_with(bench.redis.sink());
    agent
        .tells("redis is full", |s| {
            s.last_error.as_ref().is_some_and(|e| e.contains("OOM"))
        })
        .await;
    bench.command("CONFIG SET maxmemory 0").await;
    bench.settled().await;
}
