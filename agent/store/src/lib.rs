//! The store: what the agent needs of etcd, behind one trait.
//!
//! [`etcd`] is the real one and the only file that knows the etcd client. The
//! crate `pointsman-memory` has one that behaves like it for tests, compaction
//! and leases included.

use std::fmt;

use async_trait::async_trait;

pub mod etcd;
pub mod pauses;
mod signed;

pub use pointsman_model::Revision;
pub use signed::SignedStore;

/// An etcd lease id. Zero means "no lease".
pub type LeaseId = i64;

/// One key with its value, as it was at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, without the prefix of the registry.
    pub key: String,
    /// The raw value.
    pub value: Vec<u8>,
    /// Revision at which the key was created (last time it came to be).
    pub create_revision: Revision,
    /// Revision of the last change.
    pub mod_revision: Revision,
    /// The lease that the key hangs on; 0 for none.
    pub lease: LeaseId,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The key was created or overwritten.
    Put(KeyValue),
    /// The key is gone, since `mod_revision`.
    Delete {
        /// The key, without the prefix of the registry.
        key: String,
        /// Revision of the deletion.
        mod_revision: Revision,
    },
}

impl Event {
    /// The revision of this change: the only thing that advances a position.
    pub fn revision(&self) -> Revision {
        match self {
            Event::Put(kv) => kv.mod_revision,
            Event::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}

/// A page of a listing.
#[derive(Clone, Debug)]
pub struct Page {
    /// The keys, in byte order.
    pub items: Vec<KeyValue>,
    /// The revision that the listing is pinned to: that of the request, or,
    /// for a first page without one, the store's revision.
    pub revision: Revision,
    /// Where the next page begins, if keys are left. (Bytes, since a key need
    /// not be UTF-8, and the next one of its lossy form may lie before it.)
    pub next: Option<Vec<u8>>,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Write in any case.
    Always,
    /// The key does not exist.
    Absent,
    /// The key exists.
    Present,
    /// The key's mod revision is this one.
    ModRevision(Revision),
}

impl Condition {
    /// Whether it holds for a key that is this now.
    pub fn holds(self, now: Option<&KeyValue>) -> bool {
        match self {
            Condition::Always => true,
            Condition::Absent => now.is_none(),
            Condition::Present => now.is_some(),
            Condition::ModRevision(revision) => now.is_some_and(|kv| kv.mod_revision == revision),
        }
    }
}

/// What must hold for one key, for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key.
    pub key: String,
    /// What must hold for it.
    pub condition: Condition,
}

impl Compare {
    /// This condition on this key.
    pub fn new(key: impl Into<String>, condition: Condition) -> Self {
        let key = key.into();
        Self { key, condition }
    }
}

/// A write of one key, in a transaction. No transaction writes a key twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Write it.
    Put {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// What the key hangs on afterwards; 0: on no lease.
        lease: LeaseId,
    },
    /// Delete it, if it is there.
    Delete {
        /// The key.
        key: String,
    },
}

impl Op {
    /// A put.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>, lease: LeaseId) -> Self {
        let (key, value) = (key.into(), value.into());
        Op::Put { key, value, lease }
    }

    /// A deletion.
    pub fn delete(key: impl Into<String>) -> Self {
        Op::Delete { key: key.into() }
    }
}

/// The outcome of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// Done, at this revision.
    Done(Revision),
    /// A condition did not hold; this is the key of the first such, as it is
    /// now.
    Conflict(Option<KeyValue>),
}

/// What a lease is, as the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The time to live that it was granted with, in seconds.
    pub ttl: u64,
    /// How many seconds of it are left.
    pub left: u64,
    /// How many keys hang on it, also keys of others.
    pub keys: usize,
}

/// An error of the store. It is never to be read as "empty".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The asked-for revision has been compacted away.
    #[error("revision has been compacted (etcd keeps {compact_revision} and later)")]
    Compacted {
        /// The oldest revision that can still be read; 0 if not known.
        compact_revision: Revision,
    },
    /// The asked-for revision lies in the store's future.
    #[error("revision {asked} is in the future of this etcd")]
    FutureRevision {
        /// The revision that was asked for.
        asked: Revision,
    },
    /// The store refuses the credentials, or they lack a permission.
    #[error("etcd refused the credentials")]
    Denied(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The value is larger than the store takes.
    #[error("the request is larger than etcd takes")]
    TooLarge(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The lease does not exist (any more).
    #[error("lease {0:x} does not exist")]
    NoLease(LeaseId),
    /// The store cannot be reached, or answered in time, or has no leader.
    #[error("etcd is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Anything else.
    #[error("etcd failed")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A change of one key, with what the key was before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedEvent {
    /// The change.
    pub event: Event,
    /// The key before it; `None` if it was not there, or that is compacted away.
    pub before: Option<KeyValue>,
}

/// What a watch yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchItem<E = Event> {
    /// Changes in order; never part of a revision without the rest of it.
    Events(Vec<E>),
    /// A sign of life without content: an answer to a progress request, or
    /// "created". It must never advance a position.
    Alive,
}

/// A watch that is open. It ends by an error or, at `Ok(None)`, silently.
#[async_trait]
pub trait Watch<E = Event>: Send {
    /// Waits for the next item.
    async fn next(&mut self) -> Result<Option<WatchItem<E>>, StoreError>;
    /// Asks the store for a sign of life ([`WatchItem::Alive`]).
    async fn ping(&mut self) -> Result<(), StoreError>;
}

/// What the agent needs of etcd. All keys are without the registry's prefix.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Lists keys in order, from `from` (inclusive), at most `limit` (0: all).
    /// `at` pins the revision; without it the read is linearizable.
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError>;

    /// Lists the keys in `[from, to)` with their mod revisions, linearizable;
    /// with the store's revision. The range is bounded, so that the store need
    /// not walk more.
    async fn keys(
        &self,
        from: &str,
        to: &str,
    ) -> Result<(Vec<(String, Revision)>, Revision), StoreError> {
        let page = self.list(from.as_bytes(), 0, None).await?;
        let within = page.items.into_iter().take_while(|kv| kv.key.as_str() < to);
        Ok((
            within.map(|kv| (kv.key, kv.mod_revision)).collect(),
            page.revision,
        ))
    }

    /// Reads one key as it was at revision `at`.
    async fn get_at(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, StoreError> {
        let page = self.list(key.as_bytes(), 1, Some(at)).await?;
        Ok(page.items.into_iter().find(|kv| kv.key == key))
    }

    /// Reads one key, linearizable; with the store's revision.
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError>;

    /// Watches all keys from `from` on (inclusive).
    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// The same, with what the keys were before.
    async fn history(&self, _from: Revision) -> Result<Box<dyn Watch<RecordedEvent>>, StoreError> {
        Err(StoreError::Other("this store has no history".into()))
    }

    /// Makes all writes in one revision if all conditions hold, otherwise none.
    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError>;

    /// The transaction that writes one key if `condition` holds for it.
    async fn put(
        &self,
        key: &str,
        value: &[u8],
        lease: LeaseId,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        let compare = Compare::new(key, condition);
        self.txn(&[compare], &[Op::put(key, value, lease)]).await
    }

    /// The transaction that deletes one key if `condition` holds for it.
    async fn delete(&self, key: &str, condition: Condition) -> Result<Written, StoreError> {
        let compare = Compare::new(key, condition);
        self.txn(&[compare], &[Op::delete(key)]).await
    }

    /// Grants a lease of about `ttl` seconds.
    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError>;

    /// Renews a lease once, or answers [`StoreError::NoLease`].
    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Looks at a lease, or answers [`StoreError::NoLease`].
    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError>;

    /// Revokes a lease and deletes the keys that hang on it.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}
