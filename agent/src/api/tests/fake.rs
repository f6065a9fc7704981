//! The store in memory with a fault.

use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;

use crate::store::memory::MemoryStore;
use crate::store::{
    Condition, KeyValue, LeaseId, Page, Revision, Store, StoreError, Watch, Written,
};

#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    Hangs,
    Denies,
    Panics,
    Fails,
    /// Leases get at least so many seconds.
    Raises(u64),
    /// No value is small enough.
    TakesNoValue,
}

#[derive(Debug)]
pub(super) struct Fake {
    pub(super) inner: MemoryStore,
    pub(super) fault: Fault,
    /// Leases granted and not revoked.
    pub(super) leases: AtomicI64,
}

impl Fake {
    pub(super) fn new(fault: Fault) -> Self {
        Self {
            inner: MemoryStore::new(),
            fault,
            leases: AtomicI64::new(0),
        }
    }

    async fn stumble(&self) -> Result<(), StoreError> {
        match self.fault {
            Fault::Hangs => std::future::pending().await,
            Fault::Denies => Err(StoreError::Denied("user agent-7 lacks a role".into())),
            Fault::Panics => panic!("secret internals"),
            Fault::Fails => Err(StoreError::Other("secret internals".into())),
            Fault::Raises(_) | Fault::TakesNoValue => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Fake {
    async fn list(
        &self,
        from: &str,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.stumble().await?;
        self.inner.list(from, limit, at).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.stumble().await?;
        self.inner.get(key).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.stumble().await?;
        self.inner.watch(from).await
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        lease: LeaseId,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.stumble().await?;
        if matches!(self.fault, Fault::TakesNoValue) {
            return Err(StoreError::TooLarge("secret internals".into()));
        }
        self.inner.put(key, value, lease, condition).await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<Written, StoreError> {
        self.stumble().await?;
        self.inner.delete(key, condition).await
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        self.stumble().await?;
        self.leases.fetch_add(1, Ordering::Relaxed);
        let shortest = if let Fault::Raises(n) = self.fault {
            n
        } else {
            0
        };
        self.inner.lease_grant(ttl.max(shortest)).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.stumble().await?;
        self.inner.lease_renew(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.stumble().await?;
        self.leases.fetch_sub(1, Ordering::Relaxed);
        self.inner.lease_revoke(lease).await
    }
}
