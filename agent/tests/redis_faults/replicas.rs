//! Replicas: one that takes no writes, one that lagged when it took over, and
//! Sentinel, which decides that.

use std::net::SocketAddr;

use pointsman_dev::ports;
use redis::aio::MultiplexedConnection;

use crate::bench::Bench;
use crate::faults::agent::{self, SHOP};
use crate::faults::program::{self, Redis};
use crate::faults::relay::Relay;
use crate::faults::until;
use crate::registry;

/// A replica of whatever answers at `master`.
async fn replica_of(master: SocketAddr) -> Redis {
    let (ip, port) = (master.ip().to_string(), master.port().to_string());
    Redis::start_with(&["--replicaof", &format!("{ip} {port}")]).await
}

/// Waits until a replica holds the table at the master's revision.
async fn in_step(replica: &mut MultiplexedConnection, revision: i64) {
    until("the replica is in step", async || {
        let rev: Option<String> = program::command(replica, "HGET pointsman:meta rev").await;
        if rev == Some(revision.to_string()) {
            return Ok(());
        }
        Err(format!("it is at {rev:?}, not {revision}"))
    })
    .await;
}

#[tokio::test]
async fn a_replica_refuses_and_is_written_to_once_it_is_promoted() {
    let mut bench = Bench::start().await;
    let mut agent = bench.agent().await;
    let claim = bench.claim().await;
    let nobody = ports::free_loopback().port();
    bench
        .command(&format!("REPLICAOF 127.0.0.1 {nobody}"))
        .await;
    bench.put("b.example").await;
    agent
        .tells("it is refused", |s| {
            !s.redis_connected
                && s.last_error
                    .as_ref()
                    .is_some_and(|e| e.contains("read only"))
        })
        .await;
    bench.command("REPLICAOF NO ONE").await;
    bench.settled().await;
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
    bench.chain_is_whole().await;
}

#[tokio::test]
async fn a_replica_that_lagged_and_is_promoted_by_hand_is_caught_up_by_one_batch() {
    let mut bench = Bench::start().await;
    let (agents, link) = (
        Relay::to(bench.redis.listen).await,
        Relay::to(bench.redis.listen).await,
    );
    let replica = replica_of(link.listen()).await;
    let url = format!("redis://{}", agents.listen());
    let _agent = bench.agent_with(program::sink(&url));
    bench.settled().await;
    let claim = bench.claim().await;
    let mut behind = replica.connection().await;
    in_step(&mut behind, bench.revision().await).await;

    link.cut();
    for n in 0..20 {
        bench.put(&format!("h{n}.example")).await;
    }
    bench.delete("a.example").await;
    bench.settled().await;
    let lost = registry::held(&mut behind).await.unwrap();
    assert_eq!(lost.len(), 1, "the replica has heard of none: {lost:?}");

    let _: String = program::command(&mut behind, "REPLICAOF NO ONE").await;
    agents.lead_to(replica.listen);
    bench.redis.process.kill().await;
    agent::settled(&bench.store, &mut behind).await;
    assert_eq!(agent::claim(&mut behind).await, claim, "no rebuild");
}

/// The master's replica is no longer allowed to follow, which is how it comes
/// to lag; then the master dies.
#[tokio::test]
async fn a_fail_over_by_sentinel_to_a_replica_that_lagged_is_followed() {
    let mut bench = Bench::start().await;
    let replica = replica_of(bench.redis.listen).await;
    let sentinel = Redis::sentinel(bench.redis.listen).await;
    let dead = ports::free_loopback();
    let url = format!("redis+sentinel://{dead},{}/table", sentinel.listen);
    let mut agent = bench.agent_with(program::sink(&url));
    bench.settled().await;
    let claim = bench.claim().await;
    let mut behind = replica.connection().await;
    in_step(&mut behind, bench.revision().await).await;
    let mut watchman = sentinel.connection().await;
    until("the sentinel knows the replica", async || {
        let known: Vec<redis::Value> =
            program::command(&mut watchman, "SENTINEL REPLICAS table").await;
        if known.len() == 1 {
            return Ok(());
        }
        Err(format!("{known:?}"))
    })
    .await;

    bench.command("ACL SETUSER default -psync -sync").await;
    bench.command("CLIENT KILL TYPE replica").await;
    for n in 0..20 {
        bench.put(&format!("h{n}.example")).await;
    }
    bench.delete("a.example").await;
    bench.settled().await;
    let lost = registry::held(&mut behind).await.unwrap();
    assert_eq!(lost.len(), 1, "the replica has heard of none: {lost:?}");

    bench.redis.process.kill().await;
    agent.tells("redis is away", |s| !s.redis_connected).await;
    agent::put(&bench.store, "routes/during.example", SHOP).await;
    // A promotion ends the connections of all clients.
    let mut behind = until("the replica is promoted", async || {
        let mut connection = program::try_connection(&replica.url()).await?;
        let info: String = program::try_command(&mut connection, "INFO replication").await?;
        if info.contains("role:master") {
            return Ok(connection);
        }
        Err(info)
    })
    .await;
    agent::settled(&bench.store, &mut behind).await;
    assert_eq!(agent::claim(&mut behind).await, claim, "no rebuild");

    // Nobody writes to the old master when it comes back, empty.
    bench.redis.process.respawn().await.unwrap();
    agent::put(&bench.store, "routes/after.example", SHOP).await;
    agent::settled(&bench.store, &mut behind).await;
    agent.tells("redis answers", |s| s.redis_connected).await;
}
