//! A watch of etcd.

use async_trait::async_trait;
use etcd_client::WatchStream;
use tokio::time::timeout;

use super::call::{classify, timed_out};
use super::{CALL_TIMEOUT, EtcdStore};
use crate::{StoreError, Watch, WatchItem};

/// A watch that is open.
pub(super) struct EtcdWatch<E> {
    pub(super) stream: WatchStream,
    pub(super) store: EtcdStore,
    pub(super) read: fn(&EtcdStore, &etcd_client::Event) -> Option<E>,
}

#[async_trait]
impl<E: Send> Watch<E> for EtcdWatch<E> {
    async fn next(&mut self) -> Result<Option<WatchItem<E>>, StoreError> {
        let Some(answer) = self.stream.message().await.map_err(classify)? else {
            return Ok(None);
        };
        if answer.compact_revision() > 0 {
            let compact_revision = answer.compact_revision();
            return Err(StoreError::Compacted { compact_revision });
        }
        if answer.canceled() {
            // An expired token cancels the watch as it is created, and the
            // client renews a token for single calls only.
            let why = answer.cancel_reason().to_owned();
            if self.store.options.user.is_some() {
                let client = self.store.client().await?;
                let renewed = timeout(CALL_TIMEOUT, client.refresh_token()).await;
                renewed.map_err(timed_out)?.map_err(classify)?;
            }
            return Err(StoreError::Unavailable(
                format!("etcd cancelled the watch: {why}").into(),
            ));
        }
        let events: Vec<_> = answer
            .events()
            .iter()
            .filter_map(|event| (self.read)(&self.store, event))
            .collect();
        if events.is_empty() {
            return Ok(Some(WatchItem::Alive));
        }
        Ok(Some(WatchItem::Events(events)))
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        self.stream.request_progress().await.map_err(classify)
    }
}
