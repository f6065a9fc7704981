use std::sync::Arc;
use std::time::Duration;

use pointsman_memory::MemoryStore;
use pointsman_store::{KeyValue, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;

mod command;
mod hold;

const KEY: &str = "instances/shop/shop-1";
const VALUE: &str = r#"{"addr":"10.0.0.5:8080","weight":100}"#;
const TTL: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(3);

fn holding(store: Arc<dyn Store>) -> Holding {
    Holding {
        store,
        key: KEY.to_owned(),
        value: VALUE.to_owned(),
        ttl: TTL,
        patience: PATIENCE,
    }
}

async fn stored(store: &MemoryStore) -> Option<KeyValue> {
    // A store that is down still holds what it held.
    store.get(KEY).await.unwrap().0
}
