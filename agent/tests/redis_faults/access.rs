//! Passwords, users and TLS.

use pointsman_harness::etcd::EtcdNode;
use pointsman_harness::launcher;
use pointsman_harness::ports;
use pointsman_harness::redis_node::{self, RedisNode};
use pointsman_harness::services::{AgentConfig, AgentProcess as Serve, Service as _};
use pointsman_memory::MemoryStore;
use pointsman_publish::sink::redis::{RedisOptions, RedisSink};
use pointsman_publish::sink::{Sink, SinkError};

use crate::bench::Bench;
use crate::faults::agent::{self, Agent, SHOP};
use crate::faults::until;
use pointsman_harness::certificates::Certificates;
use pointsman_harness::records::REDIS_PREFIX;

#[tokio::test]
async fn a_password_is_needed_and_enough() {
    let redis = RedisNode::start_with(&["--requirepass", "s3cret"]).await;
    let url = |login: &str| format!("redis://{login}{}", redis.listen);
    for login in ["", ":wrong@"] {
        let error = redis_node::sink(&url(login)).meta().await.unwrap_err();
        assert!(matches!(error, SinkError::Refused(_)), "{error:?}");
    }
    let store = MemoryStore::new();
    agent::put(&store, "routes/a.example", SHOP).await;
    let right = url(":s3cret@");
    let _agent = Agent::start("a", store.clone(), redis_node::sink(&right));
    agent::settled(&store, &mut redis_node::connection(&right).await).await;
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
    let other = redis_node::sink(&format!("redis://other:s3cret@{at}"));
    let error = other.meta().await.unwrap_err();
    assert!(matches!(error, SinkError::Refused(_)), "{error:?}");
    let mut agent = bench.agent_with(redis_node::sink(&format!("redis://agent:s3cret@{at}")));
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
    let redis = RedisNode::spawn(&flags);
    let url = format!("rediss://{}", redis.listen);
    let ca = certificates.pem("ca.pem");
    let trusting = RedisOptions {
        url: url.clone(),
        ca: Some(ca),
        prefix: REDIS_PREFIX.to_owned(),
        stream_length: 10_000,
        ..RedisOptions::default()
    };
    let sink = || RedisSink::with(&trusting).unwrap();
    crate::faults::until("redis answers over TLS", async || {
        let answer = sink().meta().await;
        answer.map_err(|error| format!("{error:?}"))
    })
    .await;
    let error = redis_node::sink(&url).meta().await.unwrap_err();
    assert!(matches!(error, SinkError::Unavailable(_)), "{error:?}");

    // The whole agent, by its settings.
    let etcd = EtcdNode::start().await;
    let launcher = launcher();
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

#[tokio::test]
async fn sentinels_with_a_password_and_tls_are_asked_with_both() {
    let certificates = Certificates::make();
    let files = ["server.pem", "server.key", "ca.pem"].map(|name| certificates.path(name));
    let tls = |port: &'static str| {
        let mut flags = vec!["--tls-port", port, "--tls-auth-clients", "no"];
        flags.extend(["--tls-replication", "yes"]);
        flags.extend(["--tls-cert-file", &files[0]]);
        flags.extend(["--tls-key-file", &files[1]]);
        flags.extend(["--tls-ca-cert-file", &files[2]]);
        flags
    };
    let mut flags = tls("PORT");
    flags.extend(["--requirepass", "s3cret"]);
    let master = RedisNode::spawn(&flags);
    let mut lines = vec![
        "sentinel auth-pass table s3cret".to_owned(),
        "user default off".to_owned(),
        "user agent on >t0p ~* &* +@all".to_owned(),
    ];
    lines.extend(
        tls("PORT")
            .chunks(2)
            .map(|pair| format!("{} {}", pair[0].trim_start_matches("--"), pair[1])),
    );
    let sentinel = RedisNode::spawn_sentinel(master.listen, &lines);

    // The whole agent, by its settings.
    let etcd = EtcdNode::start().await;
    let file = master.dir().join("sentinel-password");
    std::fs::write(&file, "t0p\n").unwrap();
    let config = AgentConfig {
        id: "a".to_owned(),
        admin: ports::free_loopback(),
        etcd_url: etcd.url(),
        redis_url: format!("rediss+sentinel://:s3cret@{}/table", sentinel.listen),
        more_args: vec![
            "--redis-ca-file".into(),
            certificates.file("ca.pem").into_os_string(),
            "--redis-sentinel-user".into(),
            "agent".into(),
            "--redis-sentinel-password-file".into(),
            file.into_os_string(),
        ],
        log_dir: master.dir().to_owned(),
    };
    let launcher = launcher();
    let mut serve = Serve::spawn(&launcher, &config).unwrap();
    serve.ready().await.unwrap();
}

/// Edges tell by it since when no agent is there.
#[tokio::test]
async fn an_idle_agent_shows_that_it_is_there() {
    let mut bench = Bench::start().await;
    let rules = "on >s3cret ~pointsman:* +@read +@write +@scripting +info +type";
    bench.command(&format!("ACL SETUSER agent {rules}")).await;
    let at = bench.redis.listen;
    let agent = bench.agent_with(redis_node::sink(&format!("redis://agent:s3cret@{at}")));
    bench.settled().await;
    for _ in 0..2 {
        bench.command("DEL pointsman:heard").await;
        until("it is heard", async || {
            let mut connection = bench.redis.connection().await;
            let left: i64 = redis_node::command(&mut connection, "TTL pointsman:heard").await;
            if left > 86_000 {
                Ok(())
            } else {
                Err(left.to_string())
            }
        })
        .await;
    }
    drop(agent);
}
