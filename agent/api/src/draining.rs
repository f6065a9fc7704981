//! `/v1/apps/{app}/instances/{id}/draining`: taking an instance out of use
//! without deregistering it.
//!
//! The word holds for the registration that is there now: it ends when the
//! instance is registered again, but no heartbeat undoes it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use pointsman_mirror::table::{Held, InstanceState};
use pointsman_model::{AppName, Element, InstanceId, Key};
use pointsman_store::Revision;
use pointsman_wire::{DrainAnswer, DrainQuery};

use super::ApiState;
use super::edges::{Left, patience};
use super::extract::{InstanceParam, NoFields, Params, Precondition};
use super::problem::{Code, Problem};
use super::registering::{InstanceKeys, set_draining};
use super::storage::{Thing, json_body};

const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
    NoFields: NoFields,
) -> Result<Response, Problem> {
    let names = InstanceKeys::new(app, id);
    let revision = set_draining(&state, &names, condition).await?;
    Ok(names.draining().written(revision))
}

/// Takes the instance out of use, and waits until every edge has applied that
/// and nothing is in flight on it anywhere.
pub(super) async fn drain(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Params(query): Params<DrainQuery>,
    NoFields: NoFields,
) -> Result<Response, Problem> {
    let patience = patience("timeout", query.timeout.as_deref(), DEFAULT_DRAIN)?;
    let names = InstanceKeys::new(app.clone(), id.clone());
    let revision = set_draining(&state, &names, None).await?;
    let left = || state.undrained(&app, &id, revision);
    match state.until_nothing(left, patience).await? {
        None => {
            let edges = state.edge_names();
            Ok(json_body(&DrainAnswer { revision, edges }))
        }
        Some(left) => {
            let what = format!("{app}/{id} is draining, but not drained");
            Err(left.problem(Code::NotDrained, &what, revision))
        }
    }
}

impl ApiState {
    /// What is left before an instance is drained whose draining was set at
    /// `revision`; a problem if edges do not drain it.
    fn undrained(
        &self,
        app: &AppName,
        id: &InstanceId,
        revision: Revision,
    ) -> Result<Left, Problem> {
        let lacking = self.edges.undrained(revision, app.as_str(), id.as_str());
        let mut left = Left::of(lacking);
        let (seen, state, is_frozen) = {
            let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
            let element = Element::Instance(app.as_str().into(), id.as_str().into());
            let state = table.instance_state(app.as_str(), id.as_str());
            let is_frozen = table.held(&element) == Held::Frozen;
            (table.revision(), state.filter(|_| !is_frozen), is_frozen)
        };
        if seen < revision || self.readiness.status().applied < revision {
            left.obstacle.get_or_insert("redis is not there yet");
            return Ok(left);
        }
        let why = match state {
            Some(InstanceState::Draining) => return Ok(left),
            None if is_frozen => "a bad value in etcd keeps it as it was at the edges",
            None => "the instance was deregistered",
            Some(InstanceState::Shadowed { .. }) => "another instance has its address",
            Some(InstanceState::NotAllowed) => "the settings do not allow its address",
            Some(_) => "the draining was ended meanwhile",
        };
        let detail = format!("{why}: nothing tells what is in flight on it");
        Err(Problem::new(Code::NotRouted, detail))
    }
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    InstanceParam(app, id): InstanceParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    let thing = Thing::new(Key::Override(app, id));
    state.delete(&thing, condition).await
}
