//! A Redis that cannot hold the table, and says so before anything is written.

use pointsman_dev::ports;
use pointsman_publish::sink::{Sink, SinkError};

use crate::bench::Bench;
use crate::faults::program::Redis;

async fn refusal(redis: &Redis) -> String {
    match redis.sink().meta().await {
        Err(error @ SinkError::Unfit(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn cluster_mode_is_refused() {
    // By itself it would take its port plus 10,000, which somebody may have.
    let bus = ports::free_loopback().port().to_string();
    let redis = Redis::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
    let said = refusal(&redis).await;
    assert!(said.contains("cluster mode"), "{said}");
}

#[tokio::test]
async fn a_policy_that_evicts_is_refused_until_it_is_changed() {
    let flags = ["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"];
    let mut bench = Bench::start_with(&flags).await;
    let said = refusal(&bench.redis).await;
    assert!(said.contains("noeviction"), "{said}");
    let mut agent = bench.agent_with(bench.redis.sink());
    agent
        .tells("it is refused", |s| {
            s.last_error.as_ref().is_some_and(|e| e.contains("evicts"))
        })
        .await;
    bench
        .command("CONFIG SET maxmemory-policy noeviction")
        .await;
    bench.settled().await;
    agent.tells("it is ready", |s| s.ready).await;
}

#[tokio::test]
async fn a_policy_without_a_limit_never_evicts_and_is_accepted() {
    let redis = Redis::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    redis.sink().meta().await.unwrap();
}
