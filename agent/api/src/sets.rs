//! `/v1/sets`: what was applied together. A set is a list of keys, no more: who
//! applies it again knows by it what to delete.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Key, Kind, ObjectSet};
use pointsman_store::{Condition, KeyValue};
use pointsman_wire::{SetAnswer, SetList};

use super::ApiState;
use super::extract::{JsonBody, Precondition, SetParam};
use super::problem::Problem;
use super::storage::{Thing, json_body, shown};

/// How many keys are read at once.
const PAGE: usize = 100;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    SetParam(set): SetParam,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let value = ObjectSet::from_value(&body)?.to_value();
    let thing = Thing::new(Key::Set(set));
    let condition = condition.unwrap_or(Condition::Always);
    let revision = state.write(&thing, &value, 0, condition).await?;
    Ok(thing.written(revision))
}

pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    SetParam(set): SetParam,
) -> Result<Response, Problem> {
    let thing = Thing::new(Key::Set(set.clone()));
    let kv = state.read(&thing).await?.ok_or_else(|| thing.not_found())?;
    let body = answer(set.as_str(), &kv);
    Ok(shown(&body, Some(body.revision)))
}

pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    SetParam(set): SetParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    state.delete(&Thing::new(Key::Set(set)), condition).await
}

/// Read from etcd: there are few, and whoever prunes must see them all.
pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let prefix = Kind::Set.declaration().prefix();
    let (mut from, mut at, mut sets) = (prefix.as_bytes().to_vec(), None, Vec::new());
    loop {
        let page = state.call(state.store.list(&from, PAGE, at)).await?;
        at = Some(page.revision);
        let found = page.items.iter();
        let found = found.map_while(|kv| Some(answer(kv.key.strip_prefix(prefix)?, kv)));
        let before = sets.len();
        sets.extend(found);
        match page.next {
            Some(next) if sets.len() == before + page.items.len() => from = next,
            _ => break,
        }
    }
    let revision = at.unwrap_or_default();
    Ok(json_body(&SetList { sets, revision }))
}

fn answer(set: &str, kv: &KeyValue) -> SetAnswer {
    let members = ObjectSet::from_value(&kv.value).unwrap_or_default().members;
    SetAnswer {
        set: set.to_owned(),
        revision: kv.mod_revision,
        members: members.iter().map(ToString::to_string).collect(),
    }
}
