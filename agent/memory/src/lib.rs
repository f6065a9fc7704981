//! A store in memory that behaves like etcd, for tests: revisions, pinned
//! listings, compaction, leases on tokio's clock, and faults on demand.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pointsman_store::{
    Compare, Event, KeyValue, LeaseId, Op, Page, RecordedEvent, Revision, Store, StoreError, Watch,
    Written,
};
use tokio::sync::Notify;
use tokio::time::Instant;

mod fake;
mod state;
mod watch;

pub use fake::{Fake, Fault};
use state::{MemoryLease, State};
use watch::{MemoryHistory, MemoryWatch};

/// The store; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<MemoryState>);

#[derive(Debug, Default)]
struct MemoryState {
    state: Mutex<State>,
    changed: Notify,
}

impl MemoryStore {
    /// An empty store, at revision 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store's revision.
    pub fn revision(&self) -> Revision {
        self.state().revision
    }

    /// The revision of the last change that was told.
    pub fn last_event(&self) -> Revision {
        self.state().log.last().map_or(0, Event::revision)
    }

    /// All keys as they were at `revision`, compacted or not.
    pub fn content_at(&self, revision: Revision) -> Vec<KeyValue> {
        self.state().at(revision).into_values().collect()
    }

    /// Forgets all history before `revision`.
    pub fn compact(&self, revision: Revision) {
        // The log stays whole, so that pinned listings after it are right.
        self.state().compacted = revision;
    }

    /// Makes every call fail, and breaks open watches, until told otherwise.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
        self.break_watches();
    }

    /// Breaks all open watches off.
    pub fn break_watches(&self) {
        self.state().generation += 1;
        self.0.changed.notify_waiters();
    }

    /// Leaves pings of watches unanswered, as a half-dead stream does.
    pub fn set_mute(&self, mute: bool) {
        self.state().mute = mute;
    }

    /// Empties the store, as if it had been restored from nothing.
    pub fn wipe(&self) {
        let generation = self.state().generation + 1;
        *self.state() = State {
            generation,
            ..State::default()
        };
        self.0.changed.notify_waiters();
    }

    /// Ends a lease at once; its keys go.
    pub fn expire(&self, lease: LeaseId) {
        self.state().end_lease(lease);
        self.0.changed.notify_waiters();
    }

    /// Removes a key without an event, as etcd can lose a deletion around a
    /// compaction.
    pub fn lose_deletion(&self, key: &str) {
        let mut state = self.state();
        state.revision += 1;
        let revision = state.revision;
        let before = state.log.len();
        state.remove(key);
        state.log.truncate(before);
        state.lost.push((key.to_owned(), revision));
    }

    /// Writes several keys (`None`: deletes them) in one revision.
    pub fn commit(&self, writes: &[(&str, Option<&str>)]) -> Revision {
        let ops = writes.iter().map(|(key, value)| match value {
            Some(value) => Op::put(*key, *value, 0),
            None => Op::delete(*key),
        });
        let ops: Vec<_> = ops.collect();
        let mut state = self.state();
        state.apply(&ops);
        let revision = state.revision;
        drop(state);
        self.0.changed.notify_waiters();
        revision
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.expire_due();
        state
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        if state.down {
            return Err(StoreError::Unavailable(
                "the store was told to be down".into(),
            ));
        }
        Ok(state)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let state = self.up()?;
        let revision = at.unwrap_or(state.revision);
        if revision > state.revision {
            return Err(StoreError::FutureRevision { asked: revision });
        }
        if revision < state.compacted {
            return Err(StoreError::Compacted {
                compact_revision: state.compacted,
            });
        }
        let keys = if revision == state.revision {
            state.keys.clone()
        } else {
            state.at(revision)
        };
        let limit = if limit == 0 { usize::MAX } else { limit };
        let mut rest = keys.into_values().filter(|kv| kv.key.as_bytes() >= from);
        let items: Vec<_> = rest.by_ref().take(limit).collect();
        Ok(Page {
            items,
            revision,
            next: rest.next().map(|kv| kv.key.into_bytes()),
        })
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let state = self.up()?;
        Ok((state.keys.get(key).cloned(), state.revision))
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let generation = self.up()?.generation;
        Ok(Box::new(MemoryWatch {
            store: self.clone(),
            next: from,
            generation,
            pinged: false,
        }))
    }

    async fn history(&self, from: Revision) -> Result<Box<dyn Watch<RecordedEvent>>, StoreError> {
        let generation = self.up()?.generation;
        Ok(Box::new(MemoryHistory(MemoryWatch {
            store: self.clone(),
            next: from,
            generation,
            pinged: false,
        })))
    }

    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        let mut state = self.up()?;
        for Compare { key, condition } in compares {
            let now = state.keys.get(key);
            if !condition.holds(now) {
                return Ok(Written::Conflict(now.cloned()));
            }
        }
        for op in ops {
            if let Op::Put { lease, .. } = op
                && *lease != 0
                && !state.leases.contains_key(lease)
            {
                return Err(StoreError::NoLease(*lease));
            }
        }
        state.apply(ops);
        let revision = state.revision;
        drop(state);
        self.0.changed.notify_waiters();
        Ok(Written::Done(revision))
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        let mut state = self.up()?;
        let id = state.next_lease;
        state.next_lease += 1;
        let until = Instant::now() + Duration::from_secs(ttl);
        state.leases.insert(
            id,
            MemoryLease {
                ttl,
                until,
                keys: BTreeSet::new(),
            },
        );
        Ok(id)
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut state = self.up()?;
        let held = state
            .leases
            .get_mut(&lease)
            .ok_or(StoreError::NoLease(lease))?;
        held.until = Instant::now() + Duration::from_secs(held.ttl);
        Ok(())
    }

    async fn lease(&self, lease: LeaseId) -> Result<pointsman_store::Lease, StoreError> {
        let state = self.up()?;
        let held = state.leases.get(&lease).ok_or(StoreError::NoLease(lease))?;
        Ok(pointsman_store::Lease {
            ttl: held.ttl,
            left: held
                .until
                .saturating_duration_since(Instant::now())
                .as_secs(),
            keys: held.keys.len(),
        })
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut state = self.up()?;
        if !state.leases.contains_key(&lease) {
            return Err(StoreError::NoLease(lease));
        }
        state.end_lease(lease);
        drop(state);
        self.0.changed.notify_waiters();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use pointsman_store::Condition;

    use super::*;

    #[tokio::test]
    async fn a_transaction_is_made_whole_or_not_at_all() {
        let store = MemoryStore::new();
        store.commit(&[("a", Some("1")), ("b", Some("1"))]);
        let writes = [Op::put("c", "2", 0), Op::delete("a"), Op::delete("none")];
        let compares = |b: Revision| {
            [
                Compare::new("a", Condition::Present),
                Compare::new("b", Condition::ModRevision(b)),
                Compare::new("c", Condition::Absent),
            ]
        };
        let refused = store.txn(&compares(1), &writes).await.unwrap();
        let Written::Conflict(Some(now)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!((&*now.key, now.mod_revision), ("b", 2));
        assert_eq!(store.revision(), 2);
        let made = store.txn(&compares(2), &writes).await.unwrap();
        assert_eq!(made, Written::Done(3));
        let keys: Vec<_> = store.content_at(3).into_iter().map(|kv| kv.key).collect();
        assert_eq!(keys, ["b", "c"]);
        let refused = store.txn(&compares(2), &writes).await.unwrap();
        assert_eq!(refused, Written::Conflict(None), "a is gone");
    }
}
