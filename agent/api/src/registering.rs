//! What becomes of an instance's keys when it is registered, drained, and
//! deregistered.
//!
//! What is said about an instance (its draining, what probes found) hangs on
//! the instance's own lease, and is moved, or deleted, in one transaction with
//! it. So it ends when the instance does.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::response::Response;
use pointsman_model::{AppName, Instance, InstanceId, Key, Override};
use pointsman_store::pauses::Pauses;
use pointsman_store::{
    Compare, Condition, KeyValue, Lease, LeaseId, Op, Revision, StoreError, Written,
};

use pointsman_wire::{OwnerName, WarningCode};

use super::ApiState;
use super::problem::{Code, Problem};
use super::storage::{Thing, deleted};
use super::writing::Writing;

/// How often a write is tried that others come in between, or whose answer is
/// lost.
pub(super) const TRIES: usize = 5;
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(500)];

/// The keys of an instance.
pub(super) struct InstanceKeys {
    app: AppName,
    instance: Thing,
    draining: Thing,
    health: Thing,
}

impl InstanceKeys {
    pub(super) fn new(app: AppName, id: InstanceId) -> Self {
        Self {
            instance: Thing::new(Key::Instance(app.clone(), id.clone())),
            draining: Thing::new(Key::Override(app.clone(), id.clone())),
            health: Thing::new(Key::Health(app.clone(), id)),
            app,
        }
    }

    /// Its draining.
    pub(super) fn draining(&self) -> &Thing {
        &self.draining
    }

    /// What is said about the instance.
    fn marks(&self) -> [&Thing; 2] {
        [&self.draining, &self.health]
    }

    /// Deletes the instance with all that is said about it.
    fn delete_all(&self) -> [Op; 3] {
        [&self.instance, &self.draining, &self.health].map(Thing::delete)
    }
}

/// A PUT of an instance.
pub(super) struct Registering {
    pub(super) state: Arc<ApiState>,
    pub(super) names: InstanceKeys,
    pub(super) instance: Instance,
    /// Seconds.
    pub(super) ttl: Option<u64>,
    pub(super) condition: Option<Condition>,
    /// Whether it may take another app's address.
    pub(super) is_admin: bool,
}

impl Registering {
    pub(super) async fn run(self) -> Result<Response, Problem> {
        let thing = &self.names.instance;
        let mut pauses = Pauses::new(PAUSES[0], PAUSES[1]);
        for _ in 0..TRIES {
            let now = self.state.read(thing).await?;
            thing.check(self.condition, now.as_ref())?;
            let before = now.as_ref().map_or(0, |kv| kv.lease);
            if !self.is_unchanged(now.as_ref()) {
                self.may_take_address()?;
            }
            let lease = match self.ttl {
                None => 0,
                Some(ttl) => self.state.lease_for(before, ttl).await?,
            };
            let written = match &now {
                Some(kv) if self.is_heartbeat(kv, lease) => Ok(Some(kv.mod_revision)),
                Some(kv) if self.has_moved(kv) => self.replace(kv, lease).await,
                _ => self.write(now.as_ref(), lease).await,
            };
            // Of the two leases, one carries the instance no longer, or not.
            let unused = match written {
                Ok(Some(_)) => before,
                Ok(None) | Err(_) => lease,
            };
            if before != lease && unused != 0 {
                self.state.release(unused).await;
            }
            if let Some(revision) = written? {
                return Ok(thing.written(revision));
            }
            tokio::time::sleep(pauses.following()).await;
        }
        Err(contended())
    }

    fn is_heartbeat(&self, kv: &KeyValue, lease: LeaseId) -> bool {
        lease != 0 && lease == kv.lease && self.is_unchanged(Some(kv))
    }

    /// Whether the registration that is there says the same.
    fn is_unchanged(&self, now: Option<&KeyValue>) -> bool {
        now.is_some_and(|kv| Instance::from_value(&kv.value).as_ref() == Ok(&self.instance))
    }

    /// Refuses the address of another app's instance that takes requests, unless
    /// an admin calls; the answer says what becomes of the two then. By what the
    /// table knows: of two that come at the same moment, both may be let in, and
    /// the younger one wins.
    fn may_take_address(&self) -> Result<(), Problem> {
        let (addr, state) = (self.instance.addr, &self.state);
        let owner = {
            let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
            table.serving_at(addr)
        };
        let Some((app, id)) = owner.filter(|(app, _)| **app != *self.names.app.as_str()) else {
            return Ok(());
        };
        if !self.is_admin {
            let detail = format!("{addr} is the address of another app's live instance");
            return Err(Problem::new(Code::AddressTaken, detail).field("addr"));
        }
        if self.instance.shared {
            return Ok(());
        }
        if self.instance.weight == 0 {
            let detail = format!("{app}/{id} has {addr}, so this instance gets no requests");
            Writing::warn(WarningCode::AddressShadowed, detail);
            return Ok(());
        }
        let detail = format!("{app}/{id} had {addr}, and gets no requests any more");
        Writing::warn(WarningCode::AddressDisplaced, detail);
        Writing::displaces(OwnerName {
            app: app.into(),
            id: id.into(),
        });
        Ok(())
    }

    /// Whether it is at another address: that is another process, and a new
    /// registration. It owns its address though its key is older than others.
    fn has_moved(&self, kv: &KeyValue) -> bool {
        Instance::from_value(&kv.value).is_ok_and(|before| before.addr != self.instance.addr)
    }

    /// Writes it where `now` is; answers nothing if others came in between.
    async fn write(
        &self,
        now: Option<&KeyValue>,
        lease: LeaseId,
    ) -> Result<Option<Revision>, Problem> {
        let thing = &self.names.instance;
        let mut marks = Vec::new();
        if let Some(kv) = now
            && kv.lease != lease
        {
            for mark in self.names.marks() {
                marks.push((mark, self.state.read(mark).await?));
            }
        }
        let mut ops = vec![thing.put(self.instance.to_value().as_bytes(), lease)];
        let mut compares = vec![still(thing, now)];
        for (mark, found) in &marks {
            compares.push(still(mark, found.as_ref()));
            ops.extend(found.as_ref().map(|kv| mark.put(&kv.value, lease)));
        }
        let written = self.state.txn(&compares, &ops).await?;
        Ok(done(thing, written))
    }

    /// Ends the registration that is there, and begins a new one. (etcd has no
    /// transaction that does both.)
    async fn replace(&self, kv: &KeyValue, lease: LeaseId) -> Result<Option<Revision>, Problem> {
        let thing = &self.names.instance;
        let compares = [still(thing, Some(kv))];
        match self.state.txn(&compares, &self.names.delete_all()).await {
            Ok(Written::Done(_)) => {}
            // It may be done: the put below tells.
            Err(StoreError::Unavailable(_)) => {}
            Ok(Written::Conflict(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // The instance is there still, so what follows would find it.
        if Writing::current().dry_run {
            return Ok(Some(kv.mod_revision));
        }
        // From here on the instance is missing, so this is not given up early.
        let value = self.instance.to_value();
        let compares = [still(thing, None)];
        let put = [thing.put(value.as_bytes(), lease)];
        let mut pauses = Pauses::new(PAUSES[0], PAUSES[1]);
        let mut tried = 1;
        loop {
            match self.state.txn(&compares, &put).await {
                Ok(Written::Conflict(now)) => {
                    // Perhaps it is ours, and the answer was lost.
                    let ours = now.filter(|kv| kv.lease == lease && kv.value == value.as_bytes());
                    return Ok(ours.map(|kv| kv.mod_revision));
                }
                Ok(written) => return Ok(done(thing, written)),
                Err(StoreError::Unavailable(_)) if tried < TRIES => {
                    tried += 1;
                    tokio::time::sleep(pauses.following()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// A DELETE of an instance.
pub(super) async fn deregister(
    state: Arc<ApiState>,
    names: InstanceKeys,
    condition: Option<Condition>,
) -> Result<Response, Problem> {
    let thing = &names.instance;
    thing.may_delete(condition)?;
    for _ in 0..TRIES {
        let now = state.read(thing).await?;
        thing.check(condition, now.as_ref())?;
        let Some(kv) = now else {
            return Err(thing.not_found());
        };
        let compares = [still(thing, Some(&kv))];
        if let Written::Done(revision) = state.txn(&compares, &names.delete_all()).await? {
            if kv.lease != 0 {
                state.release(kv.lease).await;
            }
            return Ok(deleted(thing, revision));
        }
    }
    Err(contended())
}

/// A PUT of an instance's draining: for the registration that is there, and
/// none that comes in between.
pub(super) async fn set_draining(
    state: &ApiState,
    names: &InstanceKeys,
    condition: Option<Condition>,
) -> Result<Revision, Problem> {
    let (instance, thing) = (&names.instance, &names.draining);
    let value = Override { draining: true }.to_value();
    let condition = condition.unwrap_or(Condition::Always);
    let mut registered = None;
    for _ in 0..TRIES {
        let Some(kv) = state.read(instance).await? else {
            return Err(instance.not_found());
        };
        if *registered.get_or_insert(kv.create_revision) != kv.create_revision {
            let detail = "the instance was registered again meanwhile, and is not draining";
            return Err(Problem::new(Code::PreconditionFailed, detail));
        }
        let compares = [
            still(instance, Some(&kv)),
            Compare::new(thing.stored(), condition),
        ];
        let put = [thing.put(value.as_bytes(), kv.lease)];
        match state.txn(&compares, &put).await? {
            Written::Done(revision) => {
                note(thing, revision);
                return Ok(revision);
            }
            // The condition may have failed, or the instance has changed.
            Written::Conflict(_) => {
                thing.check(Some(condition), state.read(thing).await?.as_ref())?;
            }
        }
    }
    Err(contended())
}

impl ApiState {
    pub(super) async fn txn(
        &self,
        compares: &[Compare],
        ops: &[Op],
    ) -> Result<Written, StoreError> {
        self.call(self.store.txn(compares, ops)).await
    }

    /// A lease of `ttl` seconds that has just been renewed: that of before, if
    /// it is one.
    async fn lease_for(&self, before: LeaseId, ttl: u64) -> Result<LeaseId, Problem> {
        let mut granted = None;
        if before != 0 {
            let (renewed, found) = tokio::join!(
                self.call(self.store.lease_renew(before)),
                self.call(self.store.lease(before))
            );
            match (renewed, found) {
                (Ok(()), Ok(Lease { ttl: held, .. })) if held == ttl => return Ok(before),
                (Ok(()), Ok(Lease { ttl: held, .. })) => granted = Some(held),
                (Err(StoreError::NoLease(_)), _) | (_, Err(StoreError::NoLease(_))) => {}
                (Err(error), _) | (_, Err(error)) => return Err(error.into()),
            }
        }
        let lease = self.call(self.store.lease_grant(ttl)).await?;
        // etcd raises a ttl below its election time-out. Such a lease looks
        // like one with another ttl, and must not be replaced by each heartbeat.
        if let Some(held) = granted
            && held > ttl
            && self.call(self.store.lease(lease)).await?.ttl == held
        {
            self.release(lease).await;
            return Ok(before);
        }
        Ok(lease)
    }

    /// Revokes a lease, unless a key hangs on it: it may be that of others, or
    /// ours, by a write whose answer was lost.
    pub(super) async fn release(&self, lease: LeaseId) {
        let mut pauses = Pauses::new(PAUSES[0], PAUSES[1]);
        for _ in 0..TRIES {
            let released = async {
                if self.store.lease(lease).await?.keys == 0 {
                    self.store.lease_revoke(lease).await?;
                }
                Ok(())
            };
            match self.call(released).await {
                Ok(()) | Err(StoreError::NoLease(_)) => return,
                Err(_) => tokio::time::sleep(pauses.following()).await,
            }
        }
        tracing::warn!(
            lease = format_args!("{lease:x}"),
            "a lease is left; it ends by its ttl"
        );
    }
}

/// That a key is as it was when it was read.
pub(super) fn still(thing: &Thing, now: Option<&KeyValue>) -> Compare {
    let condition = now.map_or(Condition::Absent, |kv| {
        Condition::ModRevision(kv.mod_revision)
    });
    Compare::new(thing.stored(), condition)
}

pub(super) fn done(thing: &Thing, written: Written) -> Option<Revision> {
    match written {
        Written::Done(revision) => {
            note(thing, revision);
            Some(revision)
        }
        Written::Conflict(_) => None,
    }
}

fn note(thing: &Thing, revision: Revision) {
    tracing::info!(key = thing.stored(), revision, "put");
}

pub(super) fn contended() -> Problem {
    let busy = "others write the same keys all the time";
    StoreError::Unavailable(busy.into()).into()
}
