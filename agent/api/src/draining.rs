//! `/v1/apps/{app}/instances/{id}/draining`: taking an instance out of use
//! without deregistering it.
//!
//! The word holds for the registration that is there now: it ends when the
//! instance is registered anew, but no heartbeat undoes it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Key, Override};
use pointsman_store::Condition;

use super::ApiState;
use super::extract::{InstanceParam, NoFields, Precondition};
use super::problem::Problem;
use super::storage::Thing;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
    NoFields: NoFields,
) -> Result<Response, Problem> {
    let instance = Thing::new(Key::Instance(app.clone(), id.clone()));
    if state.read(&instance).await?.is_none() {
        return Err(instance.not_found());
    }
    let thing = Thing::new(Key::Override(app, id));
    let value = Override { draining: true }.to_value();
    let condition = condition.unwrap_or(Condition::Always);
    let revision = state.write(&thing, &value, 0, condition).await?;
    Ok(thing.written(revision))
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    let thing = Thing::new(Key::Override(app, id));
    state.delete(&thing, condition).await
}
