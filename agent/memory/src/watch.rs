//! Watches of the store in memory.

use async_trait::async_trait;
use pointsman_store::{RecordedEvent, Revision, StoreError, Watch, WatchItem};

use super::MemoryStore;

pub(crate) struct MemoryWatch {
    pub(crate) store: MemoryStore,
    pub(crate) next: Revision,
    pub(crate) generation: u64,
    pub(crate) pinged: bool,
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Result<Option<WatchItem>, StoreError> {
        loop {
            let changed = self.store.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let due = {
                let state = self.store.up()?;
                if state.generation != self.generation {
                    return Err(StoreError::Unavailable("the watch broke off".into()));
                }
                if self.next < state.compacted {
                    return Err(StoreError::Compacted {
                        compact_revision: state.compacted,
                    });
                }
                let events: Vec<_> = state
                    .log
                    .iter()
                    .filter(|e| e.revision() >= self.next)
                    .cloned()
                    .collect();
                if let Some(last) = events.last() {
                    self.next = last.revision() + 1;
                    return Ok(Some(WatchItem::Events(events)));
                }
                if std::mem::take(&mut self.pinged) && !state.mute {
                    return Ok(Some(WatchItem::Alive));
                }
                state.leases.values().map(|lease| lease.until).min()
            };
            let lease_ends = async {
                match due {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = lease_ends => {}
            }
        }
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        self.pinged = true;
        Ok(())
    }
}

/// A watch that also tells what was there before.
pub(crate) struct MemoryHistory(pub(crate) MemoryWatch);

#[async_trait]
impl Watch<RecordedEvent> for MemoryHistory {
    async fn next(&mut self) -> Result<Option<WatchItem<RecordedEvent>>, StoreError> {
        let events = match self.0.next().await? {
            Some(WatchItem::Events(events)) => events,
            Some(WatchItem::Alive) => return Ok(Some(WatchItem::Alive)),
            None => return Ok(None),
        };
        let state = self.0.store.state();
        let recorded = events.into_iter().map(|event| RecordedEvent {
            before: state.before(&event),
            event,
        });
        Ok(Some(WatchItem::Events(recorded.collect())))
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        self.0.ping().await
    }
}
