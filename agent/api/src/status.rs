//! `/v1/status`, `/livez`, `/readyz` and `/metrics`: what the agent says
//! about itself. None of them waits for etcd or Redis.

use std::sync::{Arc, PoisonError};

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pointsman_wire::{
    AgentName, BadKey, Contested, EtcdStatus, Lag, RecordCounts, RedisStatus, StatusAnswer,
};

use super::ApiState;
use super::problem::{Code, Problem};
use super::storage::json_body;
use crate::metrics::{CONTENT_TYPE, Readings};

/// Bad records and shadowed addresses are shown up to this number of each.
const MOST: usize = 1000;

pub(super) async fn status(State(state): State<Arc<ApiState>>) -> Response {
    let sync = state.readiness.status();
    let ready = state.readiness.check();
    // What is over is for the log; here it would only worry people.
    let connected = sync.etcd_connected && sync.redis_connected;
    let last_error = sync.last_error.filter(|_| !connected);
    let (counts, bad, shadowed, shadowed_total) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let bad = table.bad().take(MOST).map(|(key, bad)| BadKey {
            key: key.to_owned(),
            code: bad.code.as_str().to_owned(),
            reason: bad.detail.clone(),
        });
        (
            table.counts(),
            bad.collect(),
            table.shadowed(MOST),
            table.contested_count(),
        )
    };
    let shadowed = shadowed.into_iter().map(|s| Contested {
        addr: s.addr.to_string(),
        owner: s.owner,
        losers: s.displaced,
    });
    json_body(&StatusAnswer {
        agent: AgentName {
            id: state.agent.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        ready: ready.is_ok(),
        waiting_for: ready.err(),
        phase: sync.phase.as_str().to_owned(),
        hold_reason: sync.hold_reason,
        last_error,
        epoch: sync.epoch,
        etcd: EtcdStatus {
            connected: sync.etcd_connected,
            revision_seen: sync.seen,
        },
        redis: RedisStatus {
            connected: sync.redis_connected,
            revision_applied: sync.applied,
        },
        lag: Lag {
            revisions: (sync.seen - sync.applied).max(0),
            waiting: sync.waiting,
        },
        records: RecordCounts {
            routes: counts.routes,
            apps: counts.apps,
            instances: counts.instances,
        },
        bad_total: counts.bad,
        bad,
        shadowed_total,
        shadowed: shadowed.collect(),
    })
}

pub(super) async fn livez() -> &'static str {
    "ok\n"
}

pub(super) async fn readyz(State(state): State<Arc<ApiState>>) -> Result<&'static str, Problem> {
    match state.readiness.check() {
        Ok(()) => Ok("ok\n"),
        Err(reason) => Err(Problem::new(Code::NotReady, reason)),
    }
}

pub(super) async fn metrics(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let sync = state.readiness.status();
    let (counts, shadowed) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        (table.counts(), table.shadowed_count())
    };
    let edges = state.edges.list().unwrap_or_default().into_iter();
    let reading = Readings {
        ready: state.readiness.check().is_ok(),
        etcd_connected: sync.etcd_connected,
        redis_connected: sync.redis_connected,
        seen: sync.seen,
        applied: sync.applied,
        waiting: sync.waiting,
        routes: counts.routes,
        apps: counts.apps,
        instances: counts.instances,
        bad: counts.bad,
        shadowed,
        edges: edges.map(|edge| (edge.name, edge.state.as_str())).collect(),
    };
    let text = state.metrics.render(&reading).map_err(|_| {
        let detail = "the metrics could not be written";
        Problem::new(Code::Internal, detail)
    })?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())
}
