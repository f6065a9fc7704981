//! `/v1/apps`: an app's policy, and what is live of it.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::response::Response;
use pointsman_mirror::table::{InstanceState, InstanceView};
use pointsman_model::{Key, Policy};
use pointsman_store::Condition;
use serde_json::{Value, json};

use super::ApiState;
use super::extract::{AppParam, JsonBody, Params, Precondition};
use super::problem::{Code, Problem};
use super::routes::{Paging, bad_json, listed, parsed};
use super::storage::{Thing, json_body, shown};

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    AppParam(app): AppParam,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let policy = Policy::from_value(&body)?;
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
    let (view, at) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        (table.app_named(app.as_str()), table.revision())
    };
    listed(at)?;
    let instances = view.map(|view| view.instances).unwrap_or_default();
    if stored.is_none() && instances.is_empty() {
        let detail = format!("there is no app {app}: neither a policy nor an instance");
        return Err(Problem::new(Code::NotFound, detail));
    }
    let revision = stored.as_ref().map(|kv| kv.mod_revision);
    let mut body = json!({ "app": app.as_str(), "revision": revision });
    match stored.map_or(Ok(Policy::default()), |kv| Policy::from_value(&kv.value)) {
        Ok(policy) => body["policy"] = parsed(&policy.to_value()),
        Err(bad) => body["bad"] = bad_json(&bad),
    }
    let live = instances.iter().filter(|i| i.state == InstanceState::Live);
    body["live"] = json!(live.count());
    body["instances"] = instances.iter().map(instance).collect();
    body["instances_at"] = json!(at);
    Ok(shown(&body, revision))
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
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let limit = paging.checked_limit()?;
    let (mut found, revision) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let found = table.apps(&paging.prefix, paging.cursor.as_deref(), limit + 1);
        (found, table.revision())
    };
    listed(revision)?;
    let next = (found.len() > limit).then(|| {
        found.truncate(limit);
        found.last().map(|view| view.app.clone())
    });
    let apps: Vec<Value> = found
        .into_iter()
        .map(|app| {
            json!({
                "app": app.app,
                "revision": app.mod_revision,
                "instances": app.instances,
                "live": app.live,
            })
        })
        .collect();
    let body = json!({ "apps": apps, "next": next.flatten(), "revision": revision });
    Ok(json_body(&body))
}

fn instance(view: &InstanceView) -> Value {
    let mut item = json!({ "id": view.id });
    if let Some(instance) = &view.instance {
        item["addr"] = json!(instance.addr.to_string());
        item["weight"] = json!(instance.weight);
        if let Some(zone) = &instance.zone {
            item["zone"] = json!(zone);
        }
        if instance.shared {
            item["shared"] = json!(true);
        }
    }
    item["state"] = match &view.state {
        InstanceState::Live => json!("live"),
        InstanceState::Shadowed { .. } => json!("shadowed"),
        InstanceState::NotAllowed => json!("not_allowed"),
        InstanceState::Draining => json!("draining"),
        InstanceState::Unhealthy { .. } => json!("unhealthy"),
        InstanceState::Bad => json!("bad"),
    };
    if let InstanceState::Shadowed { app, id } = &view.state {
        item["shadowed_by"] = json!({ "app": app, "id": id });
    }
    if let InstanceState::Unhealthy {
        reason: Some(reason),
    } = &view.state
    {
        item["reason"] = json!(reason);
    }
    item["revision"] = json!(view.mod_revision);
    item
}
