//! Passwords, users and TLS.

use pointsman_dev::ports;
use pointsman_dev::process::Launcher;
use pointsman_dev::services::{Agent as Serve, AgentConfig, Service as _};
use pointsman_memory::MemoryStore;
use pointsman_publish::sink::redis::RedisSink;
use pointsman_publish::sink::{Sink, SinkError};

use crate::bench::Bench;
use crate::faults::agent::{self, Agent, SHOP};
use crate::faults::certificates::Certificates;
use crate::faults::program::{self, Etcd, Redis};
use crate::registry::REDIS_PREFIX;

#[tokio::test]
async fn a_password_is_needed_and_enough() {
    let redis = Redis::start_with(&["--requirepass", "s3cret"]).await;
    let url = |login: &str| format!("redis://{login}{}", redis.listen);
    for login in ["", ":wrong@"] {
        let error = program::sink(&url(login)).meta().await.unwrap_err();
        assert!(matches!(error, SinkError::Refused(_)), "{error:?}");
    }
    let store = MemoryStore::new();
    agent::put(&store, "routes/a.example", SHOP).await;
    let right = url(":s3cret@");
    let _agent = Agent::start("a", store.clone(), program::sink(&right));
    agent::settled(&store, &mut program::connection(&right).await).await;
}

/// What docs/operations.md may promise about the least that an agent needs.
#[tokio::test]
async fn a_user_who_may_only_touch_our_keys_is_enough() {
    let mut bench = Bench::start().await;
    let rules = "on >s3cret ~pointsman:* +@read +@write +@scripting +info +type";
    bench.command(&format!("ACL SETUSER agent {rules}")).await;
    bench
        .command("ACL SETUSER other on >s3cret ~other:* +@all")
        .await;
    let at = bench.redis.listen;
    let other = program::sink(&format!("redis://other:s3cret@{at}"));
    let error = other.meta().await.unwrap_err();
    assert!(matches!(error, SinkError::Refused(_)), "{error:?}");
    let mut agent = bench.agent_with(program::sink(&format!("redis://agent:s3cret@{at}")));
    bench.settled().await;
    // Its rights are taken and given back while it runs.
    bench.command("ACL SETUSER agent -@write").await;
    bench.put("b.example").await;
    agent.tells("it is refused", |s| !s.redis_connected).await;
    bench.command("ACL SETUSER agent +@write").await;
    bench.settled().await;
}

#[tokio::test]
async fn tls_with_a_private_authority_works_and_without_it_is_refused() {
    let certificates = Certificates::make();
    let files = ["server.pem", "server.key", "ca.pem"].map(|name| certificates.path(name));
    let mut flags = vec!["--tls-port", "PORT", "--tls-auth-clients", "no"];
    flags.extend(["--tls-cert-file", &files[0]]);
    flags.extend(["--tls-key-file", &files[1]]);
    flags.extend(["--tls-ca-cert-file", &files[2]]);
    let redis = Redis::spawn(&flags);
    let url = format!("rediss://{}", redis.listen);
    let ca = certificates.pem("ca.pem");
    let sink = || RedisSink::trusting(&url, &ca, REDIS_PREFIX, 10_000).unwrap();
    crate::faults::until("redis answers over TLS", async || {
        let answer = sink().meta().await;
        answer.map_err(|error| format!("{error:?}"))
    })
    .await;
    let error = program::sink(&url).meta().await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable(_)), "{error:?}");

    // The whole agent, by its settings.
    let etcd = Etcd::start().await;
    let launcher = Launcher::new(env!("CARGO_BIN_EXE_pointsman"));
    let config = AgentConfig {
        id: "a".to_owned(),
        admin: ports::free_loopback(),
        etcd_url: etcd.url(),
        redis_url: url.clone(),
        more_args: vec![
            "--redis-ca-file".into(),
            certificates.file("ca.pem").into_os_string(),
        ],
        log_dir: redis.dir().to_owned(),
    };
    let mut serve = Serve::spawn(&launcher, &config).unwrap();
    serve.ready().await.unwrap();
}
