//! A store in memory that behaves like etcd, for tests: revisions, pinned
//! listings, compaction, leases on tokio's clock, and faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pointsman_store::{
    Compare, Event, KeyValue, LeaseId, Op, Page, RecordedEvent, Revision, Store, StoreError, Watch,
    WatchItem, Written,
};
use tokio::sync::Notify;
use tokio::time::Instant;

mod fake;

pub use fake::{Fake, Fault};

/// The store; clones share their content.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<MemoryState>);

#[derive(Debug, Default)]
struct MemoryState {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    revision: Revision,
    compacted: Revision,
    keys: BTreeMap<String, KeyValue>,
    log: Vec<Event>,
    /// Deletions without an event.
    lost: Vec<(String, Revision)>,
    leases: BTreeMap<LeaseId, MemoryLease>,
    next_lease: LeaseId,
    down: bool,
    /// Watches of an older number have been broken off.
    generation: u64,
    /// Whether pings of watches are answered.
    mute: bool,
}

impl Default for State {
    fn default() -> Self {
        // An etcd with nothing in it is at revision 1.
        Self {
            revision: 1,
            compacted: 0,
            keys: BTreeMap::new(),
            log: Vec::new(),
            lost: Vec::new(),
            leases: BTreeMap::new(),
            next_lease: 0x7001,
            down: false,
            generation: 0,
            mute: false,
        }
    }
}

#[derive(Debug)]
struct MemoryLease {
    ttl: u64,
    until: Instant,
    keys: BTreeSet<String>,
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

impl State {
    /// Makes all writes in one revision, if there is anything to write.
    fn apply(&mut self, ops: &[Op]) {
        let writes = ops.iter().any(|op| match op {
            Op::Put { .. } => true,
            Op::Delete { key } => self.keys.contains_key(key),
        });
        if writes {
            self.revision += 1;
        }
        for op in ops {
            match op {
                Op::Put { key, value, lease } => self.write(key, value, *lease),
                Op::Delete { key } => self.remove(key),
            }
        }
    }

    fn write(&mut self, key: &str, value: &[u8], lease: LeaseId) {
        let old = self.keys.get(key);
        let create_revision = old.map_or(self.revision, |kv| kv.create_revision);
        if let Some(held) = old.and_then(|kv| self.leases.get_mut(&kv.lease)) {
            held.keys.remove(key);
        }
        if let Some(held) = self.leases.get_mut(&lease) {
            held.keys.insert(key.to_owned());
        }
        let kv = KeyValue {
            key: key.to_owned(),
            value: value.to_owned(),
            create_revision,
            mod_revision: self.revision,
            lease,
        };
        self.log.push(Event::Put(kv.clone()));
        self.keys.insert(key.to_owned(), kv);
    }

    fn remove(&mut self, key: &str) {
        if let Some(kv) = self.keys.remove(key) {
            if let Some(lease) = self.leases.get_mut(&kv.lease) {
                lease.keys.remove(key);
            }
            self.log.push(Event::Delete {
                key: kv.key,
                mod_revision: self.revision,
            });
        }
    }

    fn end_lease(&mut self, lease: LeaseId) {
        let Some(lease) = self.leases.remove(&lease) else {
            return;
        };
        if !lease.keys.is_empty() {
            self.revision += 1;
        }
        for key in lease.keys {
            self.remove(&key);
        }
    }

    fn expire_due(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self
            .leases
            .iter()
            .filter_map(|(id, lease)| (lease.until <= now).then_some(*id))
            .collect();
        for lease in due {
            self.end_lease(lease);
        }
    }

    /// What the key of an event was before it, unless that is compacted away.
    fn before(&self, event: &Event) -> Option<KeyValue> {
        let (Event::Put(KeyValue { key, .. }) | Event::Delete { key, .. }) = event;
        let older = self.log.iter().rev();
        let mut older = older.filter(|old| old.revision() < event.revision());
        let last = older.find(|old| match old {
            Event::Put(kv) => kv.key == *key,
            Event::Delete { key: gone, .. } => gone == key,
        });
        match last {
            Some(Event::Put(kv)) if event.revision() > self.compacted => Some(kv.clone()),
            _ => None,
        }
    }

    fn at(&self, revision: Revision) -> BTreeMap<String, KeyValue> {
        let mut keys = BTreeMap::new();
        for event in self.log.iter().filter(|e| e.revision() <= revision) {
            match event {
                Event::Put(kv) => keys.insert(kv.key.clone(), kv.clone()),
                Event::Delete { key, .. } => keys.remove(key),
            };
        }
        for (key, at) in self.lost.iter().filter(|(_, at)| *at <= revision) {
            if keys.get(key).is_some_and(|kv| kv.mod_revision < *at) {
                keys.remove(key);
            }
        }
        keys
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

struct MemoryWatch {
    store: MemoryStore,
    next: Revision,
    generation: u64,
    pinged: bool,
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
struct MemoryHistory(MemoryWatch);

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
