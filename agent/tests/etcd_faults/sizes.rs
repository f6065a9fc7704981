//! Answers above the client's decode limit of 4 MiB.

use futures::StreamExt as _;
use pointsman_harness::etcd::{self};

use crate::bench::Bench;
use crate::faults::agent::{Agent, SHOP};

/// A thousand values of 8 kB; etcd sends as many revisions in one message.
const COUNT: usize = 1_000;

async fn put_large(bench: &Bench) {
    let value = format!("{SHOP}{}", " ".repeat(8_000));
    let puts = (0..COUNT).map(|n| (format!("routes/h{n}.example"), value.clone()));
    futures::stream::iter(puts)
        .for_each_concurrent(16, |(key, value)| async move {
            bench.put(&key, &value).await;
        })
        .await;
}

#[tokio::test]
async fn a_catch_up_of_8_mb_on_one_watch_comes_through() {
    let mut bench = Bench::start().await;
    let mut agent = bench.agent();
    bench.settled().await;
    let claim = bench.claim().await;
    bench.relay.cut();
    agent.tells("etcd is away", |s| !s.etcd_connected).await;
    put_large(&bench).await;
    bench.relay.mend();
    bench.settled().await;
    assert_eq!(bench.claim().await, claim, "it was no rebuild");
}

#[tokio::test]
async fn a_listing_of_8_mb_comes_through() {
    let mut bench = Bench::start().await;
    put_large(&bench).await;
    let store = etcd::store(&[bench.etcd.url()]);
    let _agent = Agent::start("a", store, bench.redis.sink());
    bench.settled().await;
}
