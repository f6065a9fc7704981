//! A store whose writes say who makes them.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use pointsman_model::{Actor, Kind};

use super::{
    Compare, KeyValue, Lease, LeaseId, Op, Page, RecordedEvent, Revision, Store, StoreError, Watch,
    Written,
};

/// A store that puts the key `actor` in each transaction that writes what
/// counts as an event. All else is the inner store's.
pub struct SignedStore {
    inner: Arc<dyn Store>,
    actor: Box<dyn Fn() -> Option<Actor> + Send + Sync>,
}

impl fmt::Debug for SignedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SignedStore").field(&self.inner).finish()
    }
}

impl SignedStore {
    /// Writes are those of whom `actor` names at the time of the write; of
    /// nobody if it names none.
    pub fn new(
        inner: Arc<dyn Store>,
        actor: impl Fn() -> Option<Actor> + Send + Sync + 'static,
    ) -> Self {
        let actor = Box::new(actor);
        Self { inner, actor }
    }

    /// All writes are those of this agent.
    pub fn of_agent(inner: Arc<dyn Store>, agent: &str) -> Self {
        let agent = agent.to_owned();
        Self::new(inner, move || {
            let agent = agent.clone();
            Some(Actor::Agent { agent })
        })
    }
}

#[async_trait]
impl Store for SignedStore {
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.inner.list(from, limit, at).await
    }

    async fn keys(
        &self,
        from: &str,
        to: &str,
    ) -> Result<(Vec<(String, Revision)>, Revision), StoreError> {
        self.inner.keys(from, to).await
    }

    async fn get_at(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, StoreError> {
        self.inner.get_at(key, at).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.inner.get(key).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.inner.watch(from).await
    }

    async fn history(&self, from: Revision) -> Result<Box<dyn Watch<RecordedEvent>>, StoreError> {
        self.inner.history(from).await
    }

    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        let is_event = ops.iter().any(|op| {
            let (Op::Put { key, .. } | Op::Delete { key }) = op;
            Kind::of(key).is_some_and(|(kind, _)| kind.is_event())
        });
        let Some(actor) = is_event.then(|| (self.actor)()).flatten() else {
            return self.inner.txn(compares, ops).await;
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(0));
        // First, so that it comes first in a watch.
        let signature = Op::put(Kind::Actor.declaration().form, actor.to_value(now), 0);
        let ops = [&[signature], ops].concat();
        self.inner.txn(compares, &ops).await
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        self.inner.lease_grant(ttl).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_renew(lease).await
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError> {
        self.inner.lease(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.lease_revoke(lease).await
    }
}
