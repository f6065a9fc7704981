//! `/v1/settings`: what shapes records for the whole registry.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Key, Settings};
use pointsman_store::Condition;
use serde_json::json;

use super::ApiState;
use super::extract::{JsonBody, Precondition};
use super::problem::Problem;
use super::routes::{bad_json, parsed};
use super::storage::{Thing, shown};

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let settings = Settings::from_value(&body)?;
    let thing = Thing::new(Key::Settings);
    let condition = condition.unwrap_or(Condition::Always);
    let revision = state
        .write(&thing, &settings.to_value(), 0, condition)
        .await?;
    Ok(thing.written(revision))
}

/// Without settings, all is as by default.
pub(super) async fn get(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let stored = state.read(&Thing::new(Key::Settings)).await?;
    let revision = stored.as_ref().map(|kv| kv.mod_revision);
    let mut body = json!({ "revision": revision });
    match stored.map_or(Ok(Settings::default()), |kv| {
        Settings::from_value(&kv.value)
    }) {
        Ok(settings) => body["settings"] = parsed(&settings.to_value()),
        Err(bad) => body["bad"] = bad_json(&bad),
    }
    Ok(shown(&body, revision))
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    state.delete(&Thing::new(Key::Settings), condition).await
}
