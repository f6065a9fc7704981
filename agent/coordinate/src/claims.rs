//! What only one agent at a time may do: name a new registry, rebuild Redis.

use pointsman_store::{Compare, Condition, Op, Revision, Store, StoreError, Written};

/// Its create revision tells which instances may be pending.
const PENDING: &str = "pending";
const NOTHING: &str = "{}";

/// Names a registry that has no name; answers the name and its revision, or
/// nothing if another agent was quicker. In a new registry, all instances may
/// be pending.
pub async fn name_registry(store: &dyn Store) -> Result<Option<(String, Revision)>, StoreError> {
    let epoch = uuid::Uuid::new_v4().to_string();
    let compares = [Compare::new("epoch", Condition::Absent)];
    let named = Op::put("epoch", epoch.as_bytes(), 0);
    let ops = [named, Op::put(PENDING, NOTHING, 0)];
    Ok(match store.txn(&compares, &ops).await? {
        Written::Done(revision) => Some((epoch, revision)),
        Written::Conflict(_) => None,
    })
}

/// In a registry whose agents knew no pending instances, lets those be pending
/// that are registered from now on, and no others.
pub async fn begin_pending(store: &dyn Store) -> Result<(), StoreError> {
    let put = store.put(PENDING, NOTHING.as_bytes(), 0, Condition::Absent);
    put.await.map(drop)
}

/// Claims the rebuild for `agent`; answers the token, or nothing if another
/// agent was quicker.
pub async fn rebuild(store: &dyn Store, agent: &str) -> Result<Option<Revision>, StoreError> {
    let (held, _) = store.get("rebuild").await?;
    let condition = held.map_or(Condition::Absent, |kv| {
        Condition::ModRevision(kv.mod_revision)
    });
    let value = serde_json::json!({ "agent": agent }).to_string();
    let put = store.put("rebuild", value.as_bytes(), 0, condition);
    Ok(match put.await? {
        Written::Done(token) => Some(token),
        Written::Conflict(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use pointsman_memory::MemoryStore;

    use super::*;

    #[tokio::test]
    async fn instances_may_be_pending_from_the_first_or_from_an_upgrade_on() {
        let begun = async |store: &MemoryStore| {
            let found = store.get(PENDING).await.unwrap().0;
            found.map(|kv| kv.create_revision)
        };
        let store = MemoryStore::new();
        let (_, named_at) = name_registry(&store).await.unwrap().unwrap();
        assert_eq!(begun(&store).await, Some(named_at));
        let older = MemoryStore::new();
        older.commit(&[("epoch", Some("e")), ("instances/a/1", Some("10.0.0.1:80"))]);
        assert_eq!(name_registry(&older).await.unwrap(), None);
        begin_pending(&older).await.unwrap();
        older.commit(&[("instances/a/2", Some("10.0.0.2:80"))]);
        begin_pending(&older).await.unwrap();
        assert_eq!(begun(&older).await, Some(3), "written once");
    }
}
