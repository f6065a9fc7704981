//! `/v1/apps`: an app's policy, and what is live of it.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::response::Response;
use pointsman_mirror::table::{InstanceState, InstanceView};
use pointsman_model::{Key, Policy, Settings};
use pointsman_store::{Condition, Revision};
use pointsman_wire::{
    AppAnswer, AppItem, AppList, InstanceItem, InstanceWord, ListQuery, OwnerName,
};

use super::ApiState;
use super::caller::current_is_admin;
use super::extract::{AppParam, JsonBody, Params, Precondition};
use super::problem::{Code, Problem};
use super::routes::{checked_limit, listed};
use super::storage::{Thing, bad_value, json_body, of_model, shown};

/// How many instances are read while the table is held.
const PAGE: usize = 1_000;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    AppParam(app): AppParam,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let policy = Policy::from_value(&body)?;
    if let Some(ceilings) = settings(&state).and_then(|settings| settings.ceilings) {
        ceilings.check(&policy)?;
    }
    let thing = Thing::new(Key::App(app));
    let condition = condition.unwrap_or(Condition::Always);
    let revision = state
        .write(&thing, &policy.to_value(), 0, condition)
        .await?;
    Ok(thing.written(revision))
}

/// The policy as etcd has it now, the instances as the table has them. The
/// ETag is the policy's, for a conditional PUT; it does not name the whole
/// body, so there is no 304.
pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    AppParam(app): AppParam,
) -> Result<Response, Problem> {
    let thing = Thing::new(Key::App(app.clone()));
    let stored = state.read(&thing).await?;
    let (instances, at) = instances_of(&state, app.as_str());
    listed(at)?;
    if stored.is_none() && instances.is_empty() {
        let detail = format!("there is no app {app}: neither a policy nor an instance");
        return Err(Problem::new(Code::NotFound, detail));
    }
    let revision = stored.as_ref().map(|kv| kv.mod_revision);
    let stored = stored.map_or(Ok(Policy::default()), |kv| Policy::from_value(&kv.value));
    let (policy, effective, bad) = match stored {
        Ok(policy) => {
            let effective = clamped(&state, &policy);
            let effective = effective.map(|policy| of_model(&policy.to_value()));
            (
                Some(of_model(&policy.to_value())?),
                effective.transpose()?,
                None,
            )
        }
        Err(bad) => (None, None, Some(bad_value(&bad))),
    };
    let live = instances.iter().filter(|i| i.state == InstanceState::Live);
    let body = AppAnswer {
        app: app.as_str().to_owned(),
        revision,
        policy,
        effective,
        bad,
        live: live.count(),
        instances: instances.into_iter().map(item).collect(),
        instances_at: at,
    };
    Ok(shown(&body, revision))
}

/// The settings that the table knows; `None` while they are bad.
pub(super) fn settings(state: &ApiState) -> Option<Settings> {
    let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
    table.settings()
}

/// The policy as it holds, if ceilings change it.
fn clamped(state: &ApiState, policy: &Policy) -> Option<Policy> {
    let settings = settings(state)?;
    let without = Settings {
        ceilings: None,
        ..settings.clone()
    };
    let effective = settings.effective(policy);
    (effective != without.effective(policy)).then_some(effective)
}

/// All instances of an app, page by page: the table is held for one page at a
/// time. They are as of the revision or later.
pub(super) fn instances_of(state: &ApiState, app: &str) -> (Vec<InstanceView>, Revision) {
    let mut instances: Vec<InstanceView> = Vec::new();
    let mut at = None;
    loop {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let at = *at.get_or_insert(table.revision());
        let after = instances.last().map(|instance| instance.id.clone());
        let page = table.instances(app, after.as_deref(), PAGE);
        let is_last = page.len() < PAGE;
        instances.extend(page);
        if is_last {
            return (instances, at);
        }
    }
}

/// Deletes the policy; instances go by their leases or one by one.
pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    AppParam(app): AppParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    state.delete(&Thing::new(Key::App(app)), condition).await
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    Params(query): Params<ListQuery>,
) -> Result<Response, Problem> {
    let limit = checked_limit(&query)?;
    let (mut found, revision) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let found = table.apps(&query.prefix, query.cursor.as_deref(), limit + 1);
        (found, table.revision())
    };
    listed(revision)?;
    let next = (found.len() > limit).then(|| {
        found.truncate(limit);
        found.last().map(|view| view.app.clone())
    });
    let apps = found.into_iter().map(|app| AppItem {
        app: app.app,
        revision: app.mod_revision,
        instances: app.instances,
        live: app.live,
    });
    Ok(json_body(&AppList {
        apps: apps.collect(),
        next: next.flatten(),
        revision,
    }))
}

pub(super) fn item(view: InstanceView) -> InstanceItem {
    let (mut shadowed_by, mut why) = (None, None);
    let state = match view.state {
        InstanceState::Live => InstanceWord::Live,
        InstanceState::NotAllowed => InstanceWord::NotAllowed,
        InstanceState::Draining => InstanceWord::Draining,
        InstanceState::Bad => InstanceWord::Bad,
        InstanceState::Shadowed { app, id } => {
            shadowed_by = Some(OwnerName { app, id });
            InstanceWord::Shadowed
        }
        InstanceState::Pending { reason } => {
            why = reason;
            InstanceWord::Pending
        }
        InstanceState::Unhealthy { reason } => {
            why = reason;
            InstanceWord::Unhealthy
        }
    };
    let instance = view.instance;
    InstanceItem {
        id: view.id,
        addr: instance.as_ref().map(|i| i.addr.to_string()),
        weight: instance.as_ref().map(|i| i.weight),
        shared: instance.as_ref().and_then(|i| i.shared.then_some(true)),
        zone: instance.and_then(|i| i.zone).map(Into::into),
        state,
        shadowed_by,
        reason_class: why
            .is_some()
            .then_some(view.class)
            .flatten()
            .map(|class| class.as_str().to_owned()),
        reason: why.filter(|_| current_is_admin()),
        revision: view.mod_revision,
    }
}
