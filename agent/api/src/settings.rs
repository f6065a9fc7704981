//! `/v1/settings`: what shapes records for the whole registry.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::response::Response;
use pointsman_model::{Key, Settings};
use pointsman_store::Condition;
use pointsman_wire::{SettingsAnswer, WarningCode};

use super::ApiState;
use super::extract::{JsonBody, Precondition};
use super::problem::{Code, Problem};
use super::storage::{Thing, bad_value, of_model, shown};
use super::writing::Writing;

/// How many instances are judged while the table is held.
const PAGE: usize = 1_000;

pub(super) async fn put(
    State(state): State<Arc<ApiState>>,
    Precondition(condition): Precondition,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let settings = Settings::from_user(&body)?;
    keeps_half(&state, &settings)?;
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
    keeps_half(&state, &Settings::default())?;
    state.delete(&Thing::new(Key::Settings), condition).await
}

/// Refuses settings that would take more than half of the live instances out of
/// service, unless they are forced; notes how many that is. The table is held
/// for one page at a time.
fn keeps_half(state: &ApiState, settings: &Settings) -> Result<(), Problem> {
    let (mut live, mut lost, mut after) = (0, 0, None);
    loop {
        let page = {
            let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
            table.out_of_service(settings, after.as_ref(), PAGE)
        };
        live += page.live;
        lost += page.lost;
        after = page.last;
        if after.is_none() {
            break;
        }
    }
    if lost > 0 {
        let detail = format!("{lost} of {live} live instances would get no requests any more");
        if lost * 2 > live && !Writing::current().force && !Writing::current().dry_run {
            let detail = format!(
                "{detail}, since these settings do not allow their addresses; ?force=true (--force) \
                 sets them nevertheless"
            );
            return Err(Problem::new(Code::NeedsForce, detail));
        }
        Writing::warn(WarningCode::AddressNotAllowed, detail);
        Writing::takes_out(lost);
    }
    Ok(())
}
