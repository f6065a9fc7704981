//! `/v1/settings`: what shapes records for the whole registry.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Key, Settings};
use pointsman_store::Condition;
use pointsman_wire::SettingsAnswer;

use super::ApiState;
use super::extract::{JsonBody, Precondition};
use super::problem::Problem;
use super::storage::{Thing, bad_value, of_model, shown};

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
    let stored = stored.map_or(Ok(Settings::default()), |kv| {
        Settings::from_value(&kv.value)
    });
    let (settings, bad) = match stored {
        Ok(settings) => (Some(of_model(&settings.to_value())?), None),
        Err(bad) => (None, Some(bad_value(&bad))),
    };
    let body = SettingsAnswer {
        revision,
        settings,
        bad,
    };
    Ok(shown(&body, revision))
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    state.delete(&Thing::new(Key::Settings), condition).await
}
