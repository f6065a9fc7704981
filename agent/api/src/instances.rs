//! `/v1/apps/{app}/instances/{id}`: registering an instance over REST.
//!
//! With `ttl` the key hangs on a lease, and repeating the PUT is the
//! heartbeat: it renews the lease that the key carries, whichever agent
//! granted it, and makes no new revision.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Instance, Key, json_object};
use pointsman_store::{Condition, StoreError};
use serde_json::Value;

use super::ApiState;
use super::extract::{InstanceParam, JsonBody, Precondition};
use super::problem::{Code, Problem};
use super::storage::Thing;

const SHORTEST_TTL: u64 = 2;
const LONGEST_TTL: u64 = 24 * 3600;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let (instance, ttl) = parse(&body)?;
    // By the settings that the table knows; the table judges again when the
    // instance comes by.
    let settings = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        table.settings()
    };
    if let Some(settings) = settings {
        settings.check(instance.addr)?;
    }
    let thing = Thing::new(Key::Instance(app, id));
    let Some(ttl) = ttl else {
        let condition = condition.unwrap_or(Condition::Always);
        let revision = state
            .write(&thing, &instance.to_value(), 0, condition)
            .await?;
        return Ok(thing.written(revision));
    };
    // Up to four calls to the store share the patience of one request.
    tokio::time::timeout(
        state.patience,
        leased(&state, &thing, &instance, ttl, condition),
    )
    .await
    .unwrap_or_else(|elapsed| Err(StoreError::Unavailable(Box::new(elapsed)).into()))
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    state
        .delete(&Thing::new(Key::Instance(app, id)), condition)
        .await
}

async fn leased(
    state: &ApiState,
    thing: &Thing,
    instance: &Instance,
    ttl: u64,
    condition: Option<Condition>,
) -> Result<Response, Problem> {
    let now = state.read(thing).await?;
    thing.check(condition, now.as_ref())?;
    let unchanged =
        now.filter(|kv| kv.lease != 0 && Instance::from_value(&kv.value).as_ref() == Ok(instance));
    let mut beat = None;
    if let Some(kv) = unchanged {
        match state.call(state.store.lease_renew(kv.lease)).await {
            Ok(granted) if granted == ttl => return Ok(thing.written(kv.mod_revision)),
            Ok(granted) => beat = Some((kv.mod_revision, granted)),
            Err(StoreError::NoLease(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let lease = state.call(state.store.lease_grant(ttl)).await?;
    // etcd raises a ttl below its election time-out. Such a lease looks like
    // one with another ttl, and must not lead to a new one at each heartbeat.
    if let Some((revision, granted)) = beat
        && granted > ttl
        && state.call(state.store.lease_renew(lease)).await? == granted
    {
        let _ = state.call(state.store.lease_revoke(lease)).await;
        return Ok(thing.written(revision));
    }
    let condition = condition.unwrap_or(Condition::Always);
    match state
        .write(thing, &instance.to_value(), lease, condition)
        .await
    {
        Ok(revision) => Ok(thing.written(revision)),
        Err(problem) => {
            let _ = state.call(state.store.lease_revoke(lease)).await;
            Err(problem)
        }
    }
}

/// The instance, and its ttl in seconds.
fn parse(body: &[u8]) -> Result<(Instance, Option<u64>), Problem> {
    let mut map = json_object("an instance", body)?;
    let ttl = map.remove("ttl").filter(|v| !v.is_null());
    let ttl = ttl.map(|v| parse_ttl(&v)).transpose()?;
    let instance = Instance::from_map(map).map_err(|mut bad| {
        // The API has a field more than the value in etcd.
        bad.detail = bad
            .detail
            .replace("weight, zone, shared", "weight, zone, shared, ttl");
        bad
    })?;
    Ok((instance, ttl))
}

fn parse_ttl(value: &Value) -> Result<u64, Problem> {
    let parsed = value
        .as_str()
        .and_then(|s| humantime::parse_duration(s).ok());
    match parsed {
        Some(ttl)
            if ttl.subsec_nanos() == 0
                && (SHORTEST_TTL..=LONGEST_TTL).contains(&ttl.as_secs()) =>
        {
            Ok(ttl.as_secs())
        }
        _ => Err(Problem::new(
            Code::BadTtl,
            format!(
                "\"ttl\" must be a duration in whole seconds from {}s to 24h, like \"30s\", not {value}",
                Duration::from_secs(SHORTEST_TTL).as_secs()
            ),
        )
        .field("ttl")),
    }
}
