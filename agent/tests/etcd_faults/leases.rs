//! Leases: renewed once, and none left behind.

use std::time::Duration;

use etcd_client::Client;
use pointsman_harness::etcd::{self, EtcdNode};
use pointsman_store::{Condition, Store, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::Bench;
use crate::faults::until;

/// How many renewals etcd has seen.
async fn renewals(etcd: &EtcdNode) -> u64 {
    let mut stream = TcpStream::connect(etcd.client).await.unwrap();
    let get = "GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(get.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let name = "etcd_debugging_lease_renewed_total ";
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_lease_is_renewed_once_and_looked_at_without() {
    let etcd = EtcdNode::start().await;
    let store = etcd::store(&[etcd.url()]);
    let lease = store.lease_grant(60).await.unwrap();
    let before = renewals(&etcd).await;
    store.lease_renew(lease).await.unwrap();
    assert_eq!(renewals(&etcd).await, before + 1);
    let put = store.put("routes/a.example", b"{}", lease, Condition::Always);
    put.await.unwrap();
    let found = store.lease(lease).await.unwrap();
    assert_eq!((found.ttl, found.keys), (60, 1));
    assert_eq!(renewals(&etcd).await, before + 1);
    store.lease_revoke(lease).await.unwrap();
    for answer in [
        store.lease_renew(lease).await,
        store.lease(lease).await.map(drop),
        store.lease_revoke(lease).await,
    ] {
        assert!(matches!(answer, Err(StoreError::NoLease(id)) if id == lease));
    }
}

#[tokio::test]
async fn a_lease_whose_grant_was_not_answered_is_revoked() {
    let mut bench = Bench::start().await;
    let store = etcd::store(&[etcd::through(&bench.relay)]);
    store.get("epoch").await.unwrap();
    // It takes the request, and does not answer.
    bench.etcd.process.pause();
    let grant = timeout(Duration::from_millis(200), store.lease_grant(3600));
    assert!(grant.await.is_err());
    bench.etcd.process.resume();
    let mut client = Client::connect([bench.etcd.url()], None).await.unwrap();
    until("no lease is left", async || {
        let left = client.leases().await.unwrap().leases().len();
        if left == 0 {
            return Ok(());
        }
        Err(format!("{left} leases"))
    })
    .await;
    // Neither does one come up later: this comes behind the grant.
    let lease = store.lease_grant(3600).await.unwrap();
    let left: Vec<_> = client.leases().await.unwrap().leases().to_vec();
    assert_eq!(left.iter().map(|l| l.id()).collect::<Vec<_>>(), [lease]);
}
