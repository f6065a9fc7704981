//! For tests: the store in memory, with a fault.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pointsman_store::{
    Compare, Condition, KeyValue, Lease, LeaseId, Op, Page, RecordedEvent, Revision, Store,
    StoreError, Watch, WatchItem, Written,
};

use crate::MemoryStore;

/// What is wrong with a [`Fake`].
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// No call is answered.
    Hangs,
    /// Each call is refused for its credentials.
    Denies,
    /// Each call panics.
    Panics,
    /// Each call fails.
    Fails,
    /// Leases get at least so many seconds.
    Raises(u64),
    /// No value is small enough.
    TakesNoValue,
    /// Writes are made, but their answers are lost, until told otherwise.
    LosesAnswers,
    /// Writes are neither made nor answered.
    Swallows,
    /// Watches open, but never tell anything.
    Deaf,
    /// No watch can be opened.
    Blind,
    /// A key that is read is deleted and written anew before the answer is
    /// there.
    Replaces,
    /// Each answer comes so late.
    Late(Duration),
    /// Leases are revoked, but slowly.
    Dawdles(Duration),
}

/// A [`MemoryStore`] with a fault.
#[derive(Debug)]
pub struct Fake {
    /// What it is like without the fault.
    pub inner: MemoryStore,
    /// The fault.
    pub fault: Fault,
    /// Whether the fault is there; it is, at first.
    pub faulty: AtomicBool,
    /// Leases granted and not revoked.
    pub leases: AtomicI64,
}

impl Fake {
    /// An empty store with this fault.
    pub fn new(fault: Fault) -> Self {
        Self {
            inner: MemoryStore::new(),
            fault,
            faulty: AtomicBool::new(true),
            leases: AtomicI64::new(0),
        }
    }

    fn fault(&self) -> Option<Fault> {
        self.faulty.load(Ordering::Relaxed).then_some(self.fault)
    }

    async fn stumble(&self) -> Result<(), StoreError> {
        match self.fault() {
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::Denies) => Err(StoreError::Denied("user agent-7 lacks a role".into())),
            Some(Fault::Panics) => panic!("secret internals"),
            Some(Fault::Late(time)) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
            Some(Fault::Fails) => Err(StoreError::Other("secret internals".into())),
            _ => Ok(()),
        }
    }
}

/// A watch that never tells anything, as one whose connection is half dead.
struct DeafWatch;

#[async_trait]
impl<E: Send + 'static> Watch<E> for DeafWatch {
    async fn next(&mut self) -> Result<Option<WatchItem<E>>, StoreError> {
        std::future::pending().await
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Store for Fake {
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.stumble().await?;
        self.inner.list(from, limit, at).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.stumble().await?;
        let answer = self.inner.get(key).await?;
        if let (Some(Fault::Replaces), Some(kv)) = (self.fault(), &answer.0) {
            self.inner.delete(key, Condition::Present).await?;
            self.inner
                .put(key, &kv.value, kv.lease, Condition::Absent)
                .await?;
        }
        Ok(answer)
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.stumble().await?;
        match self.fault() {
            Some(Fault::Deaf) => Ok(Box::new(DeafWatch)),
            Some(Fault::Blind) => Err(StoreError::Unavailable("no watch".into())),
            _ => self.inner.watch(from).await,
        }
    }

    async fn history(&self, from: Revision) -> Result<Box<dyn Watch<RecordedEvent>>, StoreError> {
        self.stumble().await?;
        match self.fault() {
            Some(Fault::Deaf) => Ok(Box::new(DeafWatch)),
            Some(Fault::Blind) => Err(StoreError::Unavailable("no watch".into())),
            _ => self.inner.history(from).await,
        }
    }

    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        self.stumble().await?;
        if let Some(Fault::Swallows) = self.fault() {
            return std::future::pending().await;
        }
        let puts = ops.iter().any(|op| matches!(op, Op::Put { .. }));
        if let (true, Some(Fault::TakesNoValue)) = (puts, self.fault()) {
            return Err(StoreError::TooLarge("secret internals".into()));
        }
        let written = self.inner.txn(compares, ops).await;
        match self.fault() {
            Some(Fault::LosesAnswers) => Err(StoreError::Unavailable("no answer".into())),
            _ => written,
        }
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        self.stumble().await?;
        self.leases.fetch_add(1, Ordering::Relaxed);
        let shortest = match self.fault() {
            Some(Fault::Raises(shortest)) => shortest,
            _ => 0,
        };
        self.inner.lease_grant(ttl.max(shortest)).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.stumble().await?;
        self.inner.lease_renew(lease).await
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError> {
        self.stumble().await?;
        self.inner.lease(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.stumble().await?;
        if let Some(Fault::Dawdles(time)) = self.fault() {
            tokio::time::sleep(time).await;
        }
        self.leases.fetch_sub(1, Ordering::Relaxed);
        self.inner.lease_revoke(lease).await
    }
}
