//! `/v1/routes/{host}/pause`: requests to a host wait at the edges, for a
//! migration or until something is there to serve them.
//!
//! The pause hangs on a lease of its own, so etcd ends it, whatever becomes of
//! the agents.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Host, Key, Pause};
use pointsman_store::{Compare, Condition, Lease, StoreError, Written};
use pointsman_wire::{PauseItem, PauseQuery};

use super::ApiState;
use super::edges::{MadeAt, patience};
use super::extract::{HostParam, NoFields, Params, Precondition};
use super::instances::whole;
use super::problem::{Code, Problem};
use super::registering::{TRIES, contended, done, still};
use super::storage::{Thing, deleted};
use super::writing::Writing;

const DEFAULT_LENGTH: u64 = 30;
const LONGEST: u64 = 3600;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    Precondition(condition): Precondition,
    Params(query): Params<PauseQuery>,
    NoFields: NoFields,
) -> Result<Response, Problem> {
    let seconds = query.r#for.as_deref().map_or(Ok(DEFAULT_LENGTH), length)?;
    let pause = Pause::new(query.max)
        .map_err(|bad| Problem::new(Code::BadQuery, bad.detail).field("max"))?;
    let waits = patience("wait", query.wait.as_deref(), Duration::ZERO)?;
    let put = set(Arc::clone(&state), host, pause, seconds, condition);
    let writing = Writing::new(query.dry_run, false);
    let response = writing.serve(whole(state.patience, put)).await?;
    if query.wait.is_some()
        && let Some(MadeAt(revision)) = response.extensions().get()
    {
        state.live_everywhere(*revision, waits).await?;
    }
    Ok(response)
}

/// Writes a pause on a new lease, in place of one that is there.
async fn set(
    state: Arc<ApiState>,
    host: Host,
    pause: Pause,
    seconds: u64,
    condition: Option<Condition>,
) -> Result<Response, Problem> {
    let (route, thing) = (
        Thing::new(Key::Route(host.clone())),
        Thing::new(Key::Pause(host)),
    );
    let lease = state.call(state.store.lease_grant(seconds)).await?;
    let written = async {
        for _ in 0..TRIES {
            let now = state.read(&thing).await?;
            thing.check(condition, now.as_ref())?;
            let bound = Compare::new(route.stored(), Condition::Present);
            let compares = [bound, still(&thing, now.as_ref())];
            let put = [thing.put(pause.to_value().as_bytes(), lease)];
            let written = state.txn(&compares, &put).await?;
            if let Some(revision) = done(&thing, written) {
                return Ok((revision, now.map_or(0, |kv| kv.lease)));
            }
            if state.read(&route).await?.is_none() {
                return Err(route.not_found());
            }
        }
        Err(contended())
    };
    match written.await {
        Ok((revision, before)) => {
            if before != 0 {
                state.release(before).await;
            }
            Ok(thing.written(revision))
        }
        Err(problem) => {
            state.release(lease).await;
            Err(problem)
        }
    }
}

/// Resumes at once.
pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    let patience = state.patience;
    let thing = Thing::new(Key::Pause(host));
    whole(patience, async move {
        thing.may_delete(condition)?;
        for _ in 0..TRIES {
            let now = state.read(&thing).await?;
            thing.check(condition, now.as_ref())?;
            let Some(kv) = now else {
                return Err(thing.not_found());
            };
            let compares = [still(&thing, Some(&kv))];
            if let Written::Done(revision) = state.txn(&compares, &[thing.delete()]).await? {
                state.release(kv.lease).await;
                return Ok(deleted(&thing, revision));
            }
        }
        Err(contended())
    })
    .await
}

/// Deletes a route, with its pause.
pub(super) async fn unbind(
    state: &Arc<ApiState>,
    host: Host,
    condition: Option<Condition>,
) -> Result<Response, Problem> {
    let state = Arc::clone(state);
    let patience = state.patience;
    whole(patience, async move {
        let (route, pause) = (
            Thing::new(Key::Route(host.clone())),
            Thing::new(Key::Pause(host)),
        );
        route.may_delete(condition)?;
        let wanted = condition.unwrap_or(Condition::Present);
        let paused = state.read(&pause).await?;
        let compares = [Compare::new(route.stored(), wanted)];
        let ops = [route.delete(), pause.delete()];
        match state.txn(&compares, &ops).await? {
            Written::Done(revision) => {
                if let Some(kv) = paused.filter(|kv| kv.lease != 0) {
                    state.release(kv.lease).await;
                }
                Ok(deleted(&route, revision))
            }
            Written::Conflict(None) if condition.is_none() => Err(route.not_found()),
            Written::Conflict(now) => Err(route.refused(wanted, now.as_ref())),
        }
    })
    .await
}

impl ApiState {
    /// The pause of a route, as it is shown.
    pub(super) async fn pause_of(&self, host: Host) -> Result<Option<PauseItem>, Problem> {
        let Some(kv) = self.read(&Thing::new(Key::Pause(host))).await? else {
            return Ok(None);
        };
        // A bad one pauses nothing.
        let Ok(Pause { max }) = Pause::from_value(&kv.value) else {
            return Ok(None);
        };
        let left = match self.call(self.store.lease(kv.lease)).await {
            Ok(Lease { left, .. }) => Some(format!("{left}s")),
            Err(StoreError::NoLease(_)) if kv.lease == 0 => None,
            // It has just ended.
            Err(StoreError::NoLease(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(PauseItem { max, left }))
    }
}

/// A length in seconds.
fn length(text: &str) -> Result<u64, Problem> {
    match humantime::parse_duration(text) {
        Ok(length) if length.subsec_nanos() == 0 && (1..=LONGEST).contains(&length.as_secs()) => {
            Ok(length.as_secs())
        }
        _ => {
            let detail = format!(
                "for must be a duration in whole seconds from 1s to 1h, like 30s, not {:?}",
                text.chars().take(80).collect::<String>()
            );
            Err(Problem::new(Code::BadQuery, detail).field("for"))
        }
    }
}
