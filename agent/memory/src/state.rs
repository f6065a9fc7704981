//! What the store in memory holds, and how writes change it.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_store::{Event, KeyValue, LeaseId, Op, Revision};
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) revision: Revision,
    pub(crate) compacted: Revision,
    pub(crate) keys: BTreeMap<String, KeyValue>,
    pub(crate) log: Vec<Event>,
    /// Deletions without an event.
    pub(crate) lost: Vec<(String, Revision)>,
    pub(crate) leases: BTreeMap<LeaseId, MemoryLease>,
    pub(crate) next_lease: LeaseId,
    pub(crate) down: bool,
    /// Watches of an older number have been broken off.
    pub(crate) generation: u64,
    /// Whether pings of watches are answered.
    pub(crate) mute: bool,
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
pub(crate) struct MemoryLease {
    pub(crate) ttl: u64,
    pub(crate) until: Instant,
    pub(crate) keys: BTreeSet<String>,
}

impl State {
    /// Makes all writes in one revision, if there is anything to write.
    pub(crate) fn apply(&mut self, ops: &[Op]) {
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

    pub(crate) fn write(&mut self, key: &str, value: &[u8], lease: LeaseId) {
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

    pub(crate) fn remove(&mut self, key: &str) {
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

    pub(crate) fn end_lease(&mut self, lease: LeaseId) {
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

    pub(crate) fn expire_due(&mut self) {
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
    pub(crate) fn before(&self, event: &Event) -> Option<KeyValue> {
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

    pub(crate) fn at(&self, revision: Revision) -> BTreeMap<String, KeyValue> {
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
