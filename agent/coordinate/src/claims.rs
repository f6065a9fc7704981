//! What only one agent at a time may do: name a new registry, rebuild Redis.

use pointsman_store::{Condition, Revision, Store, StoreError, Written};

/// Names a registry that has no name; answers the name and its revision, or
/// nothing if another agent was quicker.
pub async fn name_registry(store: &dyn Store) -> Result<Option<(String, Revision)>, StoreError> {
    let epoch = uuid::Uuid::new_v4().to_string();
    let put = store.put("epoch", epoch.as_bytes(), 0, Condition::Absent);
    Ok(match put.await? {
        Written::Done(revision) => Some((epoch, revision)),
        Written::Conflict(_) => None,
    })
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
