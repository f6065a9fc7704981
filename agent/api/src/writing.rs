//! How a write is made, and what is said about it. Both are kept with the task
//! that serves the call, so that no handler can forget a dry run: the store that
//! handlers see writes nothing in one.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use pointsman_store::{
    Compare, KeyValue, Lease, LeaseId, Op, Page, RecordedEvent, Revision, Store, StoreError, Watch,
    Written,
};
use pointsman_wire::{Changed, OwnerName, Warning, WarningCode};

tokio::task_local! {
    static WRITING: Writing;
}

/// A write that is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Writing {
    /// Nothing is written: the answer says what would be.
    pub(super) dry_run: bool,
    /// Written even if it takes much out of service.
    pub(super) force: bool,
    /// What the answer says beside the revision.
    said: Arc<Mutex<Changed>>,
}

impl Writing {
    pub(super) fn new(dry_run: bool, force: bool) -> Self {
        Self {
            dry_run,
            force,
            ..Self::default()
        }
    }

    /// The write that this task serves, for a task that goes on with it.
    pub(super) fn current() -> Self {
        WRITING.try_with(Self::clone).unwrap_or_default()
    }

    /// Runs what makes this write.
    pub(super) fn serve<F: Future>(self, call: F) -> impl Future<Output = F::Output> {
        WRITING.scope(self, call)
    }

    /// Says something in the answer, once.
    pub(super) fn warn(code: WarningCode, detail: impl Into<String>) {
        let warning = Warning {
            code,
            detail: detail.into(),
        };
        Self::say(|said| {
            if !said.warnings.contains(&warning) {
                said.warnings.push(warning);
            }
        });
    }

    /// Says whose instance the write displaces.
    pub(super) fn displaces(owner: OwnerName) {
        Self::say(|said| said.displaced = Some(owner));
    }

    /// Says how many instances the write takes out of service.
    pub(super) fn takes_out(count: usize) {
        Self::say(|said| said.out_of_service = Some(count));
    }

    fn say(what: impl FnOnce(&mut Changed)) {
        let current = Self::current();
        what(&mut current.said.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The answer to it.
    pub(super) fn answer(&self, revision: Revision) -> Changed {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        Changed {
            revision: (!self.dry_run).then_some(revision),
            ..said.clone()
        }
    }
}

/// A store that writes nothing in a dry run, and answers as if it had.
#[derive(Debug)]
pub(super) struct DryStore(pub(super) Arc<dyn Store>);

/// The lease that a dry run grants.
const DRY_LEASE: LeaseId = -1;

#[async_trait]
impl Store for DryStore {
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.0.list(from, limit, at).await
    }

    async fn keys(
        &self,
        from: &str,
        to: &str,
    ) -> Result<(Vec<(String, Revision)>, Revision), StoreError> {
        self.0.keys(from, to).await
    }

    async fn get_at(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, StoreError> {
        self.0.get_at(key, at).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.0.get(key).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.0.watch(from).await
    }

    async fn history(&self, from: Revision) -> Result<Box<dyn Watch<RecordedEvent>>, StoreError> {
        self.0.history(from).await
    }

    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        if !Writing::current().dry_run {
            return self.0.txn(compares, ops).await;
        }
        // The first one is what a conflict answers with.
        let mut first = None;
        let mut holds = true;
        for (n, compare) in compares.iter().enumerate() {
            let (now, _) = self.0.get(&compare.key).await?;
            holds &= compare.condition.holds(now.as_ref());
            if n == 0 {
                first = now;
            }
        }
        Ok(if holds {
            Written::Done(0)
        } else {
            Written::Conflict(first)
        })
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        if Writing::current().dry_run {
            return Ok(DRY_LEASE);
        }
        self.0.lease_grant(ttl).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        if Writing::current().dry_run {
            return self.0.lease(lease).await.map(drop);
        }
        self.0.lease_renew(lease).await
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError> {
        if lease == DRY_LEASE {
            return Err(StoreError::NoLease(lease));
        }
        self.0.lease(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        if Writing::current().dry_run {
            return Ok(());
        }
        self.0.lease_revoke(lease).await
    }
}
