//! The admin API v1: it writes etcd, never Redis; single things are read from
//! etcd, lists from the table. `docs/api.md` describes it for users.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use pointsman_edges::Edges;
use pointsman_events::Events;
use pointsman_mirror::SharedTable;
use pointsman_store::Store;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

mod apps;
mod caller;
mod calls;
mod draining;
mod edges;
mod events;
mod explain;
mod extract;
mod instances;
mod layer;
pub mod listen;
pub mod metrics;
mod openapi;
pub mod origin;
mod pausing;
pub mod problem;
pub mod readiness;
mod registering;
mod routes;
mod sets;
mod settings;
mod status;
mod storage;
#[cfg(test)]
mod tests;
mod warnings;
mod writing;

pub use caller::signed;

use calls::ApiCall;
use origin::HostNames;
use problem::{Code, Problem};

/// What the handlers share.
#[derive(Debug)]
pub struct ApiState {
    /// Where things are written to and read from; writes say who calls
    /// ([`signed`]).
    pub store: Arc<dyn Store>,
    /// Where lists are read from.
    pub table: SharedTable,
    /// What edges report.
    pub edges: Edges,
    /// What was changed lately.
    pub events: Events,
    /// Whether the agent is ready, and what the sync says.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The agent's name.
    pub agent: String,
    /// By which names clients may ask for this API.
    pub hosts: HostNames,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// How long the store may take for one request.
    pub patience: Duration,
}

/// The whole API.
pub fn router(state: Arc<ApiState>) -> Router {
    let calls = calls::all();
    let paths = |is_wanted: fn(&ApiCall) -> bool| {
        let wanted = calls.iter().filter(|call| is_wanted(call));
        wanted
            .map(|call| (call.method.clone(), call.path))
            .collect()
    };
    let around = layer::Around {
        state: Arc::clone(&state),
        without_query: paths(|call| call.query.is_none() && call.path.starts_with("/v1/")),
        writes: paths(|call| call.is_write),
    };
    calls::router(calls)
        .fallback(async || {
            let detail = "see docs/api.md for the paths; a segment with a slash must be encoded";
            Problem::new(Code::UnknownPath, detail)
        })
        .method_not_allowed_fallback(async || {
            let detail = "the header Allow names the methods of this path";
            Problem::new(Code::MethodNotAllowed, detail)
        })
        .layer(middleware::from_fn_with_state(
            Arc::new(around),
            layer::around,
        ))
        .with_state(state)
}
