//! `/v1/apps/{app}/instances/{id}/draining`: taking an instance out of use
//! without deregistering it.
//!
//! The word holds for the registration that is there now: it ends when the
//! instance is registered again, but no heartbeat undoes it.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::Key;

use super::ApiState;
use super::extract::{InstanceParam, NoFields, Precondition};
use super::problem::Problem;
use super::registering::{InstanceKeys, drain};
use super::storage::Thing;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
    NoFields: NoFields,
) -> Result<Response, Problem> {
    drain(&state, &InstanceKeys::new(app, id), condition).await
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    let thing = Thing::new(Key::Override(app, id));
    state.delete(&thing, condition).await
}
