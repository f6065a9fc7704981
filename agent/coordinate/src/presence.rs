//! The agent's own key, `agents/<id>`, on a lease: who is there. The eldest
//! does what only one should do.

use std::sync::Arc;
use std::time::Duration;

use pointsman_store::pauses::Pauses;
use pointsman_store::{Condition, Revision, Store, StoreError};
use tokio::time::{sleep, timeout};
use tracing::debug;

use crate::claims;

/// Seconds after which an agent that is gone is forgotten.
const TTL: u64 = 15;
const RENEW: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(2);
const FAREWELL: Duration = Duration::from_secs(1);

/// Holds the key for ever.
pub async fn hold(agent: &str, store: Arc<dyn Store>, format: u32, seed: u64) {
    let mut pauses = Pauses::new(PAUSE, PAUSE).seeded(seed);
    loop {
        if let Err(error) = hold_once(agent, &*store, format).await {
            debug!(%error, "the agent's own key is lost, putting it again");
        }
        sleep(pauses.following()).await;
    }
}

async fn hold_once(agent: &str, store: &dyn Store, format: u32) -> Result<(), StoreError> {
    // Not before the registry has its name: an empty etcd stays empty.
    if store.get("epoch").await?.0.is_none() {
        return Ok(());
    }
    claims::begin_pending(store).await?;
    let lease = store.lease_grant(TTL).await?;
    let value = serde_json::json!({ "format": format, "version": env!("CARGO_PKG_VERSION") });
    let key = format!("agents/{agent}");
    store
        .put(&key, value.to_string().as_bytes(), lease, Condition::Always)
        .await?;
    loop {
        sleep(RENEW).await;
        store.lease_renew(lease).await?;
        // A put of an older lease that arrived late has taken the key along.
        if store.get(&key).await?.0.is_none_or(|kv| kv.lease != lease) {
            return Ok(());
        }
    }
}

/// The agent, of these with their create revisions, that has been there for the
/// longest: the one that does what only one should do.
pub fn eldest<'a>(agents: impl IntoIterator<Item = (&'a str, Revision)>) -> Option<&'a str> {
    let eldest = agents.into_iter().min_by_key(|(_, created)| *created);
    eldest.map(|(id, _)| id)
}

/// Takes the key away, if etcd answers at once.
pub async fn leave(agent: &str, store: &dyn Store) {
    let key = format!("agents/{agent}");
    let gone = store.delete(&key, Condition::Present);
    timeout(FAREWELL, gone).await.ok();
}
