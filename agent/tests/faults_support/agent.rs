//! A sync as an agent runs it, and whether Redis holds what etcd says.

use std::sync::Arc;
use std::time::Duration;

use pointsman_mirror::Mirror;
use pointsman_publish::sink::Sink;
use pointsman_publish::{Publisher, SyncStatus};
use pointsman_store::{Condition, Store};
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, until};
use pointsman_harness::records;

/// What a route says in these tests.
pub const SHOP: &str = r#"{"app":"shop"}"#;

/// A running sync. Dropped, it is broken off.
pub struct Agent {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    status: watch::Receiver<SyncStatus>,
}

impl Agent {
    pub fn start(name: &str, store: impl Store + 'static, sink: impl Sink + 'static) -> Self {
        let mirror = Mirror::new(Arc::new(store));
        let (sync, status) = Publisher::new(name, mirror, Arc::new(sink), Arc::new(()));
        let shutdown = CancellationToken::new();
        let sync = sync.reconcile_every(Duration::from_secs(3600));
        let task = tokio::spawn(sync.run(shutdown.clone()));
        Self {
            shutdown,
            task,
            status,
        }
    }

    pub async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.unwrap();
    }

    pub fn status(&self) -> SyncStatus {
        self.status.borrow().clone()
    }

    /// A receiver that can be looked through for what happens from now on.
    pub fn statuses(&self) -> watch::Receiver<SyncStatus> {
        self.status.clone()
    }

    /// Waits until the sync tells that it is so.
    pub async fn tells(&mut self, what: &str, so: impl Fn(&SyncStatus) -> bool) {
        let told = timeout(PATIENCE, self.status.wait_for(|status| so(status)));
        let reached = matches!(told.await, Ok(Ok(_)));
        if !reached {
            panic!("not so: {what}: {:#?}", self.status());
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.task.abort();
    }
}

/// Writes a key of the registry, again and again until etcd takes it.
pub async fn put(store: &impl Store, key: &str, value: &str) {
    until(&format!("{key} is written"), async || {
        store
            .put(key, value.as_bytes(), 0, Condition::Always)
            .await
            .map_err(|error| format!("{error:?}"))
    })
    .await;
}

/// Deletes a key of the registry, again and again until etcd does.
pub async fn delete(store: &impl Store, key: &str) {
    until(&format!("{key} is deleted"), async || {
        store
            .delete(key, Condition::Present)
            .await
            .map_err(|error| format!("{error:?}"))
    })
    .await;
}

/// Waits until Redis is ready at the store's revision, and holds what its
/// content derives to.
pub async fn settled(store: &impl Store, redis: &mut MultiplexedConnection) {
    until("redis holds what etcd derives to", async || {
        difference(store, redis).await
    })
    .await;
}

async fn difference(store: &impl Store, redis: &mut MultiplexedConnection) -> Result<(), String> {
    let page = store
        .list(b"", 0, None)
        .await
        .map_err(|error| format!("{error:?}"))?;
    let meta: Vec<Option<String>> = redis::cmd("HMGET")
        .arg(format!("{}meta", records::REDIS_PREFIX))
        .arg(&["state", "rev"])
        .query_async(redis)
        .await
        .map_err(|error| error.to_string())?;
    let revision = page.revision;
    if meta != [Some("ready".to_owned()), Some(revision.to_string())] {
        return Err(format!("etcd is at {revision}, redis is {meta:?}"));
    }
    let expected = records::derived(&records::table_of(revision, &page.items));
    records::compare(&expected, &records::held(redis).await?)
}

/// The mod revision of the last rebuild's claim: it changes with each.
pub async fn claim(redis: &mut MultiplexedConnection) -> String {
    records::meta(redis, "claim").await.unwrap()
}
