//! A connection that breaks, or that is only half there.

use pointsman_store::{Revision, Store};

use crate::bench::Bench;
use crate::faults::agent::{self, SHOP};

async fn compact(bench: &Bench, revision: Revision) {
    let client = etcd_client::Client::connect([bench.etcd.url()], None).await;
    let mut client = client.unwrap();
    client.compact(revision, None).await.unwrap();
}

#[tokio::test]
async fn what_happened_while_cut_off_is_caught_up_with() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    let mut agent = bench.agent();
    bench.settled().await;
    let claim = bench.claim().await;
    bench.relay.cut();
    agent.tells("etcd is away", |s| !s.etcd_connected).await;
    bench.put("routes/b.example", SHOP).await;
    agent::delete(&bench.store, "routes/a.example").await;
    bench.relay.mend();
    bench.settled().await;
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
}

#[tokio::test]
async fn what_was_deleted_and_compacted_while_cut_off_is_found_by_a_rebuild() {
    let mut bench = Bench::start().await;
    for n in 0..10 {
        bench.put(&format!("routes/h{n}.example"), SHOP).await;
    }
    let mut agent = bench.agent();
    bench.settled().await;
    let claim = bench.claim().await;
    bench.relay.cut();
    agent.tells("etcd is away", |s| !s.etcd_connected).await;
    agent::delete(&bench.store, "routes/h3.example").await;
    bench.put("routes/new.example", SHOP).await;
    let (_, revision) = bench.store.get("epoch").await.unwrap();
    compact(&bench, revision).await;
    bench.relay.mend();
    bench.settled().await;
    assert_ne!(bench.claim().await, claim, "it was a rebuild");
}

/// Nothing is closed, but nothing arrives any more: neither the events, nor an
/// answer to the ping, of the watch's or of HTTP/2.
#[tokio::test]
async fn a_half_dead_connection_is_given_up_and_the_watch_opened_again() {
    let mut bench = Bench::start().await;
    let _agent = bench.agent();
    bench.settled().await;
    let claim = bench.claim().await;
    let connections = bench.relay.count();
    bench.relay.hold_open_ones();
    bench.put("routes/a.example", SHOP).await;
    bench.settled().await;
    assert!(bench.relay.count() > connections, "by a new connection");
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
}

#[tokio::test]
async fn a_watch_of_a_compacted_revision_says_so_and_one_that_is_none_does_not() {
    let bench = Bench::start().await;
    for _ in 0..3 {
        bench.put("routes/a.example", SHOP).await;
    }
    let (_, revision) = bench.store.get("epoch").await.unwrap();
    compact(&bench, revision).await;
    let mut watch = bench.store.watch(revision - 1).await.unwrap();
    let error = loop {
        match watch.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended without a word"),
            Err(error) => break error,
        }
    };
    let said = error.to_string();
    assert!(said.contains("compacted"), "{said}");
    let listing = bench.store.list(b"", 0, Some(revision - 1)).await;
    let said = listing.unwrap_err().to_string();
    assert!(said.contains("compacted"), "{said}");
    let listing = bench.store.list(b"", 0, Some(revision + 100)).await;
    let said = listing.unwrap_err().to_string();
    assert!(said.contains("future"), "{said}");
    assert!(bench.store.list(b"", 0, Some(revision)).await.is_ok());
}
