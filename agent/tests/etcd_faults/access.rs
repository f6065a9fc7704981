//! Authentication and TLS.

use etcd_client::{Client, ConnectOptions};
use pointsman_harness::etcd::{self, EtcdNode};
use pointsman_harness::launcher;
use pointsman_harness::ports;
use pointsman_harness::redis_node::RedisNode;
use pointsman_harness::services::{AgentConfig, AgentProcess as Serve, Service as _};
use pointsman_store::etcd::{EtcdOptions, EtcdStore, EtcdTls};
use pointsman_store::{Store, StoreError, WatchItem};
use tempfile::TempDir;

use crate::faults::agent::{self, Agent, SHOP};
use crate::faults::until;
use pointsman_harness::certificates::Certificates;
use pointsman_harness::relay::Relay;

/// Seconds that a token lives.
const TTL: u64 = 2;

/// An etcd with tokens that end, whatever is done with them.
async fn with_tokens() -> (EtcdNode, TempDir) {
    let dir = TempDir::new().unwrap();
    let key = dir.path().join("secret");
    std::fs::write(&key, "a secret of the tests").unwrap();
    let tokens = format!(
        "--auth-token=jwt,sign-method=HS256,priv-key={},ttl={TTL}s",
        key.display()
    );
    let etcd = EtcdNode::start_with(&[&tokens, "--bcrypt-cost=4"]).await;
    let mut client = Client::connect([etcd.url()], None).await.unwrap();
    client.user_add("root", "right", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.auth_enable().await.unwrap();
    (etcd, dir)
}

fn login(url: String, password: &str) -> EtcdOptions {
    EtcdOptions {
        user: Some(("root".to_owned(), password.to_owned())),
        ..etcd::options(&[url])
    }
}

/// A client that does not renew its token.
async fn raw(etcd: &EtcdNode) -> Client {
    let options = ConnectOptions::new().with_user("root", "right");
    Client::connect([etcd.url()], Some(options)).await.unwrap()
}

/// Waits until every token that exists now has ended.
async fn tokens_end(etcd: &EtcdNode) {
    let mut raw = raw(etcd).await;
    until("the token ends", async || match raw.get("x", None).await {
        Ok(_) => Err("it is valid".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_an_expired_token_cancels_works_at_the_next_try() {
    let (etcd, _secret) = with_tokens().await;
    let store = EtcdStore::new(login(etcd.url(), "right"));
    agent::put(&store, "routes/a.example", SHOP).await;
    let (_, revision) = store.get("epoch").await.unwrap();
    tokens_end(&etcd).await;
    let mut watch = store.watch(revision).await.unwrap();
    let cancelled = loop {
        match watch.next().await {
            Ok(Some(WatchItem::Alive)) => {}
            other => break other,
        }
    };
    assert!(
        matches!(cancelled, Err(StoreError::Unavailable(_))),
        "neither compacted nor denied for good: {cancelled:?}"
    );
    let mut watch = store.watch(revision).await.unwrap();
    loop {
        match watch.next().await.unwrap() {
            Some(WatchItem::Alive) => {}
            Some(WatchItem::Events(events)) => {
                assert_eq!(events.len(), 1);
                return;
            }
            None => panic!("the watch ended"),
        }
    }
}

#[tokio::test]
async fn an_agent_whose_token_expired_while_it_was_cut_off_recovers() {
    let ((etcd, _secret), redis) = tokio::join!(with_tokens(), RedisNode::start());
    let relay = Relay::to(etcd.client).await;
    let store = EtcdStore::new(login(etcd.url(), "right"));
    let mut connection = redis.connection().await;
    let behind = EtcdStore::new(login(etcd::through(&relay), "right"));
    let mut agent = Agent::start("a", behind, redis.sink());
    agent::put(&store, "routes/a.example", SHOP).await;
    agent::settled(&store, &mut connection).await;
    for round in 0..2 {
        relay.cut();
        agent.tells("etcd is away", |s| !s.etcd_connected).await;
        tokens_end(&etcd).await;
        relay.mend();
        agent::put(&store, &format!("routes/h{round}.example"), SHOP).await;
        agent::settled(&store, &mut connection).await;
    }
}

/// etcd refuses a token that is older than the last change of any role or
/// user, and the client does not renew it for that.
#[tokio::test]
async fn a_change_of_roles_does_not_lock_anybody_out() {
    let (etcd, _secret) = with_tokens().await;
    let store = EtcdStore::new(login(etcd.url(), "right"));
    for round in 0..3 {
        store.get("epoch").await.unwrap();
        let mut raw = raw(&etcd).await;
        raw.role_add(format!("role{round}")).await.unwrap();
        store.get("epoch").await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_and_none_at_all_are_denied() {
    let (etcd, _secret) = with_tokens().await;
    let wrong = EtcdStore::new(login(etcd.url(), "wrong"));
    let nobody = etcd::store(&[etcd.url()]);
    for store in [wrong, nobody] {
        let error = store.get("epoch").await.unwrap_err();
        assert!(
            matches!(error, StoreError::Denied(_)),
            "not denied: {error:?}"
        );
        let error = store.lease_grant(10).await;
        assert!(!matches!(error, Err(StoreError::NoLease(_))), "{error:?}");
    }
}

#[tokio::test]
async fn an_agent_is_ready_over_tls_with_a_client_certificate_and_a_private_authority() {
    let certificates = Certificates::make();
    let flags = [
        format!("--cert-file={}", certificates.path("server.pem")),
        format!("--key-file={}", certificates.path("server.key")),
        format!("--trusted-ca-file={}", certificates.path("ca.pem")),
        "--client-cert-auth".to_owned(),
    ];
    let flags = flags.each_ref().map(String::as_str);
    let mut etcd = EtcdNode::spawn("https", ports::free_loopback(), "", &flags);
    let url = format!("https://{}", etcd.client);
    let pem = |name| String::from_utf8(certificates.pem(name)).unwrap();
    let ca = Some(pem("ca.pem"));
    let identity = Some((pem("client.pem"), pem("client.key")));
    let with = |tls| {
        EtcdStore::new(EtcdOptions {
            tls: Some(tls),
            ..etcd::options(std::slice::from_ref(&url))
        })
    };
    let store = with(EtcdTls {
        ca: ca.clone(),
        identity,
    });
    etcd.ready_through(&store).await;
    agent::put(&store, "routes/a.example", SHOP).await;

    let without_certificate = with(EtcdTls { ca, identity: None }).get("epoch").await;
    assert!(
        matches!(without_certificate, Err(StoreError::Unavailable(_))),
        "{without_certificate:?}"
    );
    let trusts_others = with(EtcdTls::default()).get("epoch").await;
    assert!(
        matches!(trusts_others, Err(StoreError::Unavailable(_))),
        "{trusts_others:?}"
    );

    // The whole agent, by its settings.
    let redis = RedisNode::start().await;
    let launcher = launcher();
    let flags = [
        ("--etcd-ca-file", "ca.pem"),
        ("--etcd-cert-file", "client.pem"),
        ("--etcd-key-file", "client.key"),
    ];
    let flags = flags.map(|(flag, file)| [flag.into(), certificates.file(file).into_os_string()]);
    let mut serve = Serve::spawn(
        &launcher,
        &AgentConfig {
            id: "a".to_owned(),
            admin: ports::free_loopback(),
            etcd_url: url,
            redis_url: redis.url(),
            more_args: flags.concat(),
            log_dir: redis.dir().to_owned(),
        },
    )
    .unwrap();
    serve.ready().await.unwrap();
    agent::settled(&store, &mut redis.connection().await).await;
}
