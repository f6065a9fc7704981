//! `/v1/routes`: which app a host goes to.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Bad, Key, Route};
use pointsman_store::Condition;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ApiState;
use super::extract::{Cached, HostParam, JsonBody, Params, Precondition};
use super::problem::{Code, Problem};
use super::storage::{Thing, json_body, not_modified, shown};

const MOST: usize = 1000;
const USUAL: usize = 100;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Paging {
    #[serde(default)]
    pub(super) prefix: String,
    limit: Option<usize>,
    pub(super) cursor: Option<String>,
}

impl Paging {
    /// The limit, once the query is found to make sense.
    pub(super) fn checked_limit(&self) -> Result<usize, Problem> {
        let texts = [
            ("prefix", Some(self.prefix.as_str())),
            ("cursor", self.cursor.as_deref()),
        ];
        for (name, text) in texts {
            if text.is_some_and(|text| text.contains(char::is_control)) {
                let detail = format!("{name} must not hold control characters");
                return Err(Problem::new(Code::BadQuery, detail).field(name));
            }
        }
        match self.limit.unwrap_or(USUAL) {
            n @ 1..=MOST => Ok(n),
            n => Err(Problem::new(
                Code::BadQuery,
                format!("limit must be from 1 to {MOST}, not {n}"),
            )
            .field("limit")),
        }
    }
}

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let route = Route::from_value(&body)?;
    let thing = Thing::new(Key::Route(host));
    let condition = condition.unwrap_or(Condition::Always);
    let revision = state.write(&thing, &route.to_value(), 0, condition).await?;
    Ok(thing.written(revision))
}

pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    cached: Cached,
) -> Result<Response, Problem> {
    let thing = Thing::new(Key::Route(host.clone()));
    let kv = state.read(&thing).await?.ok_or_else(|| thing.not_found())?;
    if cached.has(kv.mod_revision) {
        return Ok(not_modified(kv.mod_revision));
    }
    let mut body = json!({ "host": host.as_str(), "revision": kv.mod_revision });
    match Route::from_value(&kv.value) {
        Ok(route) => body["rules"] = parsed(&route.to_value())["rules"].take(),
        Err(bad) => body["bad"] = bad_json(&bad),
    }
    Ok(shown(&body, Some(kv.mod_revision)))
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    state.delete(&Thing::new(Key::Route(host)), condition).await
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    Params(paging): Params<Paging>,
) -> Result<Response, Problem> {
    let limit = paging.checked_limit()?;
    let prefix = paging.prefix.to_ascii_lowercase();
    let (mut found, revision) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let found = table.routes(&prefix, paging.cursor.as_deref(), limit + 1);
        (found, table.revision())
    };
    listed(revision)?;
    let next = (found.len() > limit).then(|| {
        found.truncate(limit);
        found.last().map(|route| route.host.clone())
    });
    let routes: Vec<Value> = found
        .into_iter()
        .map(|route| {
            let mut item = json!({ "host": route.host, "revision": route.mod_revision });
            match route.rules {
                Some(rules) => item["rules"] = parsed(&rules),
                None => item["bad"] = json!(true),
            }
            item
        })
        .collect();
    let body = json!({ "routes": routes, "next": next.flatten(), "revision": revision });
    Ok(json_body(&body))
}

/// An empty table that was never filled must not look like an empty registry.
pub(super) fn listed(revision: i64) -> Result<(), Problem> {
    if revision == 0 {
        let detail = "the agent has not read etcd's content yet; /readyz says what it waits for";
        return Err(Problem::new(Code::NotReady, detail));
    }
    Ok(())
}

pub(super) fn bad_json(bad: &Bad) -> Value {
    json!({ "code": bad.code.as_str(), "reason": bad.detail })
}

/// JSON that we wrote ourselves.
pub(super) fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
