//! The admin API v1: it writes etcd, never Redis; single things are read from
//! etcd, lists from the table. `docs/api.md` describes it for users.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware;
use axum::routing::{get, put};
use pointsman_mirror::SharedTable;
use pointsman_store::Store;

use crate::metrics::Metrics;
use crate::readiness::Readiness;

mod apps;
mod draining;
mod extract;
mod instances;
mod layer;
pub mod metrics;
pub mod problem;
pub mod readiness;
mod routes;
mod settings;
mod status;
mod storage;
#[cfg(test)]
mod tests;

use problem::{Code, Problem};

/// Paths that take a query.
const LISTS: [&str; 2] = ["/v1/routes", "/v1/apps"];

/// What the handlers share.
#[derive(Debug)]
pub struct ApiState {
    /// Where things are written to and read from.
    pub store: Arc<dyn Store>,
    /// Where lists are read from.
    pub table: SharedTable,
    /// Whether the agent is ready, and what the sync says.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The agent's name.
    pub agent: String,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// How long the store may take for one request.
    pub patience: Duration,
}

/// The whole API.
pub fn router(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/v1/routes", get(routes::list))
        .route(
            "/v1/routes/{host}",
            put(routes::put).get(routes::get).delete(routes::delete),
        )
        .route("/v1/apps", get(apps::list))
        .route(
            "/v1/apps/{app}",
            put(apps::put).get(apps::get).delete(apps::delete),
        )
        .route(
            "/v1/apps/{app}/instances/{id}",
            put(instances::put).delete(instances::delete),
        )
        .route(
            "/v1/apps/{app}/instances/{id}/draining",
            put(draining::put).delete(draining::delete),
        )
        .route(
            "/v1/settings",
            put(settings::put)
                .get(settings::get)
                .delete(settings::delete),
        )
        .route("/v1/status", get(status::status))
        .route("/livez", get(status::livez))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .fallback(async || {
            let detail = "see docs/api.md for the paths; a segment with a slash must be encoded";
            Problem::new(Code::UnknownPath, detail)
        })
        .method_not_allowed_fallback(async || {
            let detail = "the header Allow names the methods of this path";
            Problem::new(Code::MethodNotAllowed, detail)
        })
        .layer(middleware::from_fn_with_state(state.clone(), layer::around))
        .with_state(state)
}
