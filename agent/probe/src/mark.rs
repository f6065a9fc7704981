//! What agents write to etcd: `health/<app>/<id>`, at a transition.

use std::time::Duration;

use pointsman_model::{Address, FaultClass, Health, Instance};
use pointsman_store::{Compare, Condition, Op, Revision, Store, StoreError, Written};
use tokio::time::timeout;

/// etcd has so long for all of it; the next probe tries again.
const PATIENCE: Duration = Duration::from_secs(15);
/// Characters that a reason has at the most, so that it can be read again.
const LONGEST_REASON: usize = 256;

/// A change of an instance's health in etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// This was found about the instance that was created and lay there.
    Found {
        created: Revision,
        addr: Address,
        health: Health,
    },
    /// It is healthy again: the mark of this mod revision goes.
    Healthy { revision: Revision },
    /// This key, at this mod revision, means nothing any more, and goes.
    Orphan { key: String, revision: Revision },
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// It was written, at this revision.
    At(Revision),
    /// Things have changed meanwhile; nothing was written.
    Not,
}

impl Mark {
    /// That a probe was good, or that it was not, for a reason.
    pub(super) fn found(
        created: Revision,
        addr: Address,
        pending: bool,
        fault: Option<(FaultClass, &str)>,
    ) -> Self {
        let reason = fault.map(|(_, text)| text.chars().take(LONGEST_REASON).collect::<String>());
        let health = Health {
            up: reason.is_none(),
            pending,
            class: fault.map(|(class, _)| class),
            reason: reason.map(Into::into),
        };
        Self::Found {
            created,
            addr,
            health,
        }
    }

    /// Writes it for the instance named `<app>/<id>`.
    pub(super) async fn write(&self, store: &dyn Store, name: &str) -> Result<Marked, StoreError> {
        let written = timeout(PATIENCE, async {
            match self {
                Mark::Found {
                    created,
                    addr,
                    health,
                } => found(store, name, *created, *addr, health).await,
                Mark::Healthy { revision } => {
                    remove(store, &format!("health/{name}"), *revision).await
                }
                Mark::Orphan { key, revision } => remove(store, key, *revision).await,
            }
        });
        match written.await {
            Ok(written) => written,
            Err(late) => Err(StoreError::Unavailable(late.into())),
        }
    }
}

impl From<Written> for Marked {
    fn from(written: Written) -> Self {
        match written {
            Written::Done(revision) => Marked::At(revision),
            Written::Conflict(_) => Marked::Not,
        }
    }
}

async fn remove(store: &dyn Store, key: &str, at: Revision) -> Result<Marked, StoreError> {
    let removed = store.delete(key, Condition::ModRevision(at)).await?;
    Ok(removed.into())
}

/// The mark hangs on the instance's own lease, so that it goes with it. The
/// transaction compares the mod revision that was just read, which includes
/// the create revision, the address and the lease.
async fn found(
    store: &dyn Store,
    name: &str,
    created: Revision,
    addr: Address,
    health: &Health,
) -> Result<Marked, StoreError> {
    let instance = format!("instances/{name}");
    let (Some(kv), _) = store.get(&instance).await? else {
        return Ok(Marked::Not);
    };
    let lies_there = Instance::from_value(&kv.value).is_ok_and(|found| found.addr == addr);
    if kv.create_revision != created || !lies_there {
        return Ok(Marked::Not);
    }
    let unchanged = Compare::new(instance, Condition::ModRevision(kv.mod_revision));
    let put = Op::put(format!("health/{name}"), health.to_value(), kv.lease);
    match store.txn(&[unchanged], &[put]).await {
        Ok(written) => Ok(written.into()),
        // The instance went with its lease.
        Err(StoreError::NoLease(_)) => Ok(Marked::Not),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_memory::MemoryStore;
    use pointsman_memory::{Fake, Fault};

    const ADDR: &str = "10.0.0.1:80";

    async fn put(store: &MemoryStore, value: &str, lease: i64) -> Revision {
        let put = store.put(
            "instances/shop/a",
            value.as_bytes(),
            lease,
            Condition::Always,
        );
        match put.await.unwrap() {
            Written::Done(revision) => revision,
            Written::Conflict(found) => panic!("{found:?}"),
        }
    }

    fn mark(created: Revision) -> Mark {
        Mark::found(
            created,
            Address::new(ADDR).unwrap(),
            false,
            Some((FaultClass::Status, "status 503")),
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_goes_with_the_instances_lease() {
        let store = MemoryStore::new();
        let lease = store.lease_grant(30).await.unwrap();
        let created = put(&store, ADDR, lease).await;
        // A heartbeat changes the mod revision alone.
        put(&store, ADDR, lease).await;
        let marked = mark(created).write(&store, "shop/a").await.unwrap();
        let found = store.get("health/shop/a").await.unwrap().0.unwrap();
        assert_eq!(marked, Marked::At(found.mod_revision));
        assert_eq!(found.lease, lease);
        assert_eq!(
            found.value,
            br#"{"up":false,"class":"status","reason":"status 503"}"#
        );
        store.expire(lease);
        assert_eq!(store.get("health/shop/a").await.unwrap().0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn another_instance_of_that_name_is_not_marked() {
        let store = MemoryStore::new();
        let old = put(&store, ADDR, 0).await;
        store
            .delete("instances/shop/a", Condition::Present)
            .await
            .unwrap();
        let gone = mark(old).write(&store, "shop/a").await.unwrap();
        assert_eq!(gone, Marked::Not, "it is gone");
        let new = put(&store, ADDR, 0).await;
        let again = mark(old).write(&store, "shop/a").await.unwrap();
        assert_eq!(again, Marked::Not, "it was registered again");
        put(&store, "10.0.0.2:80", 0).await;
        let moved = mark(new).write(&store, "shop/a").await.unwrap();
        assert_eq!(moved, Marked::Not, "it has moved");
        assert_eq!(store.get("health/shop/a").await.unwrap().0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_replaced_at_that_moment_is_not_marked() {
        let fake = Fake::new(Fault::Replaces);
        let created = put(&fake.inner, ADDR, 0).await;
        let marked = mark(created).write(&fake, "shop/a").await.unwrap();
        assert_eq!(marked, Marked::Not);
        assert_eq!(fake.inner.get("health/shop/a").await.unwrap().0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_the_reason_the_mark_can_be_read() {
        let store = MemoryStore::new();
        let created = put(&store, ADDR, 0).await;
        let reason = "\u{10348}\"\n".repeat(1_000);
        let mark = Mark::found(
            created,
            Address::new(ADDR).unwrap(),
            true,
            Some((FaultClass::Body, &reason)),
        );
        mark.write(&store, "shop/a").await.unwrap();
        let found = store.get("health/shop/a").await.unwrap().0.unwrap();
        assert!(!Health::from_value(&found.value).unwrap().up);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_mark_that_was_seen_is_removed() {
        let store = MemoryStore::new();
        let created = put(&store, ADDR, 0).await;
        let Marked::At(revision) = mark(created).write(&store, "shop/a").await.unwrap() else {
            panic!("not marked");
        };
        let wrong = Mark::Healthy {
            revision: revision - 1,
        };
        assert_eq!(wrong.write(&store, "shop/a").await.unwrap(), Marked::Not);
        let right = Mark::Healthy { revision };
        let marked = right.write(&store, "shop/a").await.unwrap();
        assert_eq!(marked, Marked::At(revision + 1));
        assert_eq!(store.get("health/shop/a").await.unwrap().0, None);
    }
}
