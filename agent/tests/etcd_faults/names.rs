//! Keys that are no UTF-8.

use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Txn, TxnOp};
use pointsman_harness::etcd::{self, EtcdNode};
use pointsman_mirror::watch::{Watcher, WatcherStep};
use tokio::time::timeout;

use crate::faults::agent::{self, SHOP};

/// More than a page of a listing.
const COUNT: usize = 10_100;
/// What etcd takes in one transaction.
const OPS: usize = 100;

#[tokio::test]
async fn more_than_a_page_of_names_that_are_not_utf_8_is_listed_once() {
    let etcd = EtcdNode::start().await;
    let store = etcd::store(&[etcd.url()]);
    let mut client = Client::connect([etcd.url()], None).await.unwrap();
    for first in (0..COUNT).step_by(OPS) {
        let ops = (first..first + OPS).map(|n| {
            let key = [b"/pointsman/apps/\xff", n.to_string().as_bytes()].concat();
            TxnOp::put(key, "{}", None)
        });
        let txn = Txn::new().and_then(ops.collect::<Vec<_>>());
        client.txn(txn).await.unwrap();
    }
    agent::put(&store, "routes/a.example", SHOP).await;
    agent::put(&store, "epoch", "e1").await;
    let mut watcher = Watcher::new(Arc::new(store), "e1", None);
    let mut listed = 0;
    let listing = async {
        loop {
            match watcher.step().await {
                WatcherStep::Page(items) => listed += items.len(),
                WatcherStep::Listed(_) => return,
                other => panic!("{other:?}"),
            }
            assert!(listed < 3 * COUNT, "the same page again");
        }
    };
    timeout(Duration::from_secs(60), listing).await.unwrap();
    // And the settings, the route and the epoch.
    assert_eq!(listed, COUNT + 3);
}
