//! A Redis that cannot hold the table, and says so before anything is written.

use std::net::SocketAddr;

use pointsman_harness::ports;
use pointsman_harness::redis_node::{self, RedisNode};
use pointsman_publish::sink::{Sink, SinkError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::Bench;

async fn refusal(redis: &RedisNode) -> String {
    match redis.sink().meta().await {
        Err(error @ SinkError::Unfit(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn cluster_mode_is_refused() {
    // By itself it would take its port plus 10,000, which somebody may have.
    let bus = ports::free_loopback().port().to_string();
    let redis = RedisNode::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus]).await;
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
    let redis = RedisNode::start_with(&["--maxmemory-policy", "allkeys-lru"]).await;
    redis.sink().meta().await.unwrap();
}

/// Leads to `redis`, which says of itself that it is of version `version`.
async fn as_version(redis: &RedisNode, version: &'static str) -> SocketAddr {
    let (listener, to) = (
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        redis.listen,
    );
    let listen = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (mut requests, mut to_client) = client.into_split();
            let (mut answers, mut to_redis) = TcpStream::connect(to).await.unwrap().into_split();
            tokio::spawn(async move { tokio::io::copy(&mut requests, &mut to_redis).await });
            tokio::spawn(async move {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(n @ 1..) = answers.read(&mut buffer).await {
                    // As long as the real one, as Redis announces the length.
                    let name = b"redis_version:";
                    let found = buffer[..n].windows(name.len()).position(|w| w == name);
                    if let Some(at) = found.map(|at| at + name.len()) {
                        let end = buffer[at..n].iter().position(|b| *b == b'\r').unwrap();
                        let version = format!("{version:0<end$}");
                        buffer[at..at + end].copy_from_slice(&version.as_bytes()[..end]);
                    }
                    if to_client.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    listen
}

#[tokio::test]
async fn a_version_before_7_is_refused_and_the_needed_one_is_named() {
    let mut bench = Bench::start().await;
    for version in ["6.2.", "5.0."] {
        let listen = as_version(&bench.redis, version).await;
        let sink = || redis_node::sink(&format!("redis://{listen}"));
        let said = sink().meta().await.unwrap_err().to_string();
        assert!(said.contains("Redis 7.0 or later"), "{said}");
        assert!(
            said.contains(&format!("its version is {version}")),
            "{said}"
        );
        let mut agent = bench.agent_with(sink());
        agent
            .tells("it is refused", |s| {
                let told = s.last_error.as_deref().unwrap_or_default();
                told.contains("Redis 7.0 or later") && !s.ready
            })
            .await;
    }
    let keys: Vec<String> = redis_node::command(&mut bench.connection, "KEYS *").await;
    assert!(keys.is_empty(), "something was written: {keys:?}");
    let listen = as_version(&bench.redis, "10.").await;
    let sink = redis_node::sink(&format!("redis://{listen}"));
    sink.meta().await.unwrap();
}
