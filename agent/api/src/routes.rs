//! `/v1/routes`: which app a host goes to.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use pointsman_model::{Key, Route};
use pointsman_store::Condition;
use pointsman_wire::{ListQuery, RouteAnswer, RouteItem, RouteList};

use super::ApiState;
use super::extract::{Cached, HostParam, JsonBody, Params, Precondition};
use super::pausing;
use super::problem::{Code, Problem};
use super::storage::{Thing, bad_value, json_body, not_modified, of_model, shown};

const MOST: usize = 1000;
const DEFAULT_LIMIT: usize = 100;

/// The limit, once the query is found to make sense.
pub(super) fn checked_limit(query: &ListQuery) -> Result<usize, Problem> {
    let texts = [
        ("prefix", Some(query.prefix.as_str())),
        ("cursor", query.cursor.as_deref()),
    ];
    for (name, text) in texts {
        if text.is_some_and(|text| text.contains(char::is_control)) {
            let detail = format!("{name} must not hold control characters");
            return Err(Problem::new(Code::BadQuery, detail).field(name));
        }
    }
    match query.limit.unwrap_or(DEFAULT_LIMIT) {
        n @ 1..=MOST => Ok(n),
        n => Err(Problem::new(
            Code::BadQuery,
            format!("limit must be from 1 to {MOST}, not {n}"),
        )
        .field("limit")),
    }
}

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let route = Route::from_value(&body)?;
    state.warn_of_route(&host, &route);
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
    let pause = state.pause_of(host.clone()).await?;
    // A pause moves no revision of the route.
    if pause.is_none() && cached.has(kv.mod_revision) {
        return Ok(not_modified(kv.mod_revision));
    }
    let (rules, bad) = match Route::from_value(&kv.value) {
        Ok(route) => (Some(of_model(&route.rules_json())?), None),
        Err(bad) => (None, Some(bad_value(&bad))),
    };
    let body = RouteAnswer {
        host: host.as_str().to_owned(),
        revision: kv.mod_revision,
        rules,
        pause,
        bad,
    };
    let mut response = shown(&body, Some(kv.mod_revision));
    if body.pause.is_some() {
        let never = HeaderValue::from_static("no-store");
        response.headers_mut().insert(header::CACHE_CONTROL, never);
    }
    Ok(response)
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    HostParam(host): HostParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    pausing::unbind(&state, host, condition).await
}

pub(super) async fn list(
    State(state): State<Arc<ApiState>>,
    Params(query): Params<ListQuery>,
) -> Result<Response, Problem> {
    let limit = checked_limit(&query)?;
    let prefix = query.prefix.to_ascii_lowercase();
    let (mut found, revision) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let found = table.routes(&prefix, query.cursor.as_deref(), limit + 1);
        (found, table.revision())
    };
    listed(revision)?;
    let next = (found.len() > limit).then(|| {
        found.truncate(limit);
        found.last().map(|route| route.host.clone())
    });
    let routes = found.into_iter().map(|route| {
        Ok(RouteItem {
            host: route.host,
            revision: route.mod_revision,
            bad: route.rules.is_none().then_some(true),
            rules: route.rules.map(|rules| of_model(&rules)).transpose()?,
        })
    });
    Ok(json_body(&RouteList {
        routes: routes.collect::<Result<_, Problem>>()?,
        next: next.flatten(),
        revision,
    }))
}

/// An empty table that was never filled must not look like an empty registry.
pub(super) fn listed(revision: i64) -> Result<(), Problem> {
    if revision == 0 {
        let detail = "the agent has not read etcd's content yet; /readyz says what it waits for";
        return Err(Problem::new(Code::NotReady, detail));
    }
    Ok(())
}
