//! `/v1/apps/{app}/instances/{id}`: registering an instance over REST.
//!
//! With `ttl` the key hangs on a lease, and repeating the PUT is the
//! heartbeat: it renews the lease that the key carries, whichever agent
//! granted it, and makes no new revision.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Instance, json_object, shown};
use pointsman_store::StoreError;
use serde_json::Value;
use tracing::Instrument as _;

use super::ApiState;
use super::apps::settings;
use super::caller::{Caller, current_is_admin};
use super::extract::{InstanceParam, JsonBody, Precondition};
use super::problem::{Code, Problem};
use super::registering::{InstanceKeys, Registering, deregister};
use super::writing::Writing;

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
    if let Some(settings) = settings(&state) {
        settings.check(instance.addr)?;
    }
    let put = Registering {
        state: Arc::clone(&state),
        names: InstanceKeys::new(app, id),
        instance,
        ttl,
        condition,
        is_admin: current_is_admin(),
    };
    whole(state.patience, put.run()).await
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    let patience = state.patience;
    whole(
        patience,
        deregister(state, InstanceKeys::new(app, id), condition),
    )
    .await
}

/// Runs several calls to the store, which share the patience of one request.
/// They go on to their end when the client, or its patience, is gone: half of
/// them would leave a lease, or no instance.
pub(super) async fn whole<F>(patience: Duration, calls: F) -> Result<Response, Problem>
where
    F: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    let calls = Caller::current().serve(Writing::current().serve(calls));
    let calls = tokio::spawn(calls.in_current_span());
    match tokio::time::timeout(patience, calls).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(broken)) => match broken.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Problem::new(Code::NotReady, "the agent is stopping")),
        },
        Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed)).into()),
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
            if ttl.subsec_nanos() == 0 && (SHORTEST_TTL..=LONGEST_TTL).contains(&ttl.as_secs()) =>
        {
            Ok(ttl.as_secs())
        }
        _ => Err(Problem::new(
            Code::BadTtl,
            format!(
                "\"ttl\" must be a duration in whole seconds from {}s to 24h, like \"30s\", not {}",
                Duration::from_secs(SHORTEST_TTL).as_secs(),
                shown(value)
            ),
        )
        .field("ttl")),
    }
}
