//! `/v1/edges` and `/v1/wait`: how far edges are, and whether a change is live
//! on all of them.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use axum::extract::State;
use axum::response::Response;
use pointsman_edges::{EdgeState, EdgeView, Holdup, Lacking, Report};
use pointsman_model::Key;
use pointsman_store::Revision;
use pointsman_wire::{
    EdgeItem, EdgeList, EdgeReport, EdgeWord, LackingItem, LackingWord, WaitAnswer, WaitQuery,
};
use tokio::time::{Instant, timeout_at};

use super::ApiState;
use super::extract::{EdgeParam, Params, Precondition};
use super::problem::{Code, Problem};
use super::storage::{Thing, json_body};

const DEFAULT_WAIT: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// The last second of the year 9999, which RFC 3339 can write.
const LAST_SECOND: u64 = 253_402_300_799;
/// How many edges a sentence names.
const NAMED: usize = 5;

/// The revision of a write that was made, as its answer carries it to the layer
/// that may wait for the edges.
#[derive(Clone, Copy)]
pub(super) struct MadeAt(pub(super) Revision);

pub(super) async fn list(State(state): State<Arc<ApiState>>) -> Result<Response, Problem> {
    let revision = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        table.revision()
    };
    let edges = state.edges.list().ok_or_else(unheard)?;
    let edges = edges.into_iter().map(edge).collect();
    Ok(json_body(&EdgeList { edges, revision }))
}

/// Forgets an edge that is gone for good.
pub(super) async fn delete(
    State(state): State<Arc<ApiState>>,
    EdgeParam(name): EdgeParam,
    Precondition(condition): Precondition,
) -> Result<Response, Problem> {
    let known = state.edges.list().ok_or_else(unheard)?;
    let known = known.into_iter().find(|edge| edge.name == name.as_str());
    if known.is_some_and(|edge| !matches!(edge.state, EdgeState::Missing(_))) {
        let detail = format!(
            "the edge {name} reports, and would be back at once: stop its nginx first, which \
             makes it say goodbye"
        );
        return Err(Problem::new(Code::EdgeReports, detail));
    }
    state.delete(&Thing::new(Key::Edge(name)), condition).await
}

/// Answers once every edge has applied a revision.
pub(super) async fn wait(
    State(state): State<Arc<ApiState>>,
    Params(query): Params<WaitQuery>,
) -> Result<Response, Problem> {
    if query.revision < 1 {
        let detail = "revision must be that of a write, as its answer has it";
        return Err(Problem::new(Code::BadQuery, detail));
    }
    let patience = patience("timeout", query.timeout.as_deref(), DEFAULT_WAIT)?;
    let edges = state.live_everywhere(query.revision, patience).await?;
    let revision = query.revision;
    Ok(json_body(&WaitAnswer { revision, edges }))
}

/// A duration of a query.
pub(super) fn patience(
    name: &str,
    text: Option<&str>,
    default: Duration,
) -> Result<Duration, Problem> {
    let Some(text) = text else {
        return Ok(default);
    };
    match humantime::parse_duration(text) {
        Ok(patience) if patience <= LONGEST_WAIT => Ok(patience),
        _ => {
            let detail = format!(
                "{name} must be a duration from 0s to 10m, like 10s, not {:?}",
                text.chars().take(80).collect::<String>()
            );
            Err(Problem::new(Code::BadQuery, detail))
        }
    }
}

/// What is left when the time is up.
pub(super) struct Left {
    /// The edges that lack something.
    pub(super) edges: Vec<Lacking>,
    /// What else is in the way.
    pub(super) obstacle: Option<&'static str>,
}

impl Left {
    /// What edges lack; `None` if that is not known.
    pub(super) fn of(lacking: Option<Vec<Lacking>>) -> Self {
        let unknown = "edges' reports cannot be read from redis";
        Self {
            obstacle: lacking.is_none().then_some(unknown),
            edges: lacking.unwrap_or_default(),
        }
    }

    fn is_nothing(&self) -> bool {
        self.edges.is_empty() && self.obstacle.is_none()
    }

    /// The problem of this code, at the end of a wait.
    pub(super) fn problem(self, code: Code, what: &str, revision: Revision) -> Problem {
        let detail = format!("{what}: {}", self.sentence());
        let items = self.edges.into_iter().map(item).collect();
        Problem::new(code, detail).lacking(revision, items)
    }

    fn sentence(&self) -> String {
        let named = self.edges.iter().take(NAMED).map(|lacking| {
            let edge = &lacking.edge;
            match lacking.why {
                Holdup::Missing(since) => format!("{edge} has been missing since {}", time(since)),
                Holdup::OtherEpoch => format!("{edge} follows another registry"),
                Holdup::Applied(revision) => format!("{edge} is at revision {revision}"),
                Holdup::InFlight(count) => format!("{count} in flight at {edge}"),
            }
        });
        let more = self.edges.len().saturating_sub(NAMED);
        let more = (more > 0).then(|| format!("and {more} more edges"));
        let obstacle = self.obstacle.map(str::to_owned);
        let all = named.chain(more).chain(obstacle);
        all.collect::<Vec<_>>().join(", ")
    }
}

impl ApiState {
    /// Waits until every edge has applied `revision`; answers their names. If
    /// there is none, Redis must have it.
    pub(super) async fn live_everywhere(
        &self,
        revision: Revision,
        patience: Duration,
    ) -> Result<Vec<String>, Problem> {
        let left = || {
            let mut left = Left::of(self.edges.lacking(revision));
            if left.is_nothing() && self.readiness.status().applied < revision {
                left.obstacle = Some("redis is not there yet");
            }
            Ok(left)
        };
        match self.until_nothing(left, patience).await? {
            None => Ok(self.edge_names()),
            Some(left) => {
                let what = format!("revision {revision} is not live everywhere");
                Err(left.problem(Code::NotLive, &what, revision))
            }
        }
    }

    /// Waits until nothing is left; answers what is when `patience` is at its
    /// end, or the agent stops.
    pub(super) async fn until_nothing(
        &self,
        left: impl Fn() -> Result<Left, Problem>,
        patience: Duration,
    ) -> Result<Option<Left>, Problem> {
        let end = Instant::now() + patience;
        let (mut edges, mut readiness) = (self.edges.clone(), self.readiness.clone());
        loop {
            let now = left()?;
            if now.is_nothing() {
                return Ok(None);
            }
            let moved = async {
                tokio::select! {
                    () = edges.moved() => {}
                    () = readiness.moved() => {}
                    () = self.readiness.stopping() => {}
                }
            };
            if timeout_at(end, moved).await.is_err() || self.readiness.is_stopping() {
                return Ok(Some(now));
            }
        }
    }

    pub(super) fn edge_names(&self) -> Vec<String> {
        let edges = self.edges.list().unwrap_or_default().into_iter();
        edges.map(|edge| edge.name).collect()
    }
}

fn unheard() -> Problem {
    let detail = "edges' reports cannot be read from redis, or have not been read yet";
    Problem::new(Code::NotReady, detail)
}

fn time(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn edge(view: EdgeView) -> EdgeItem {
    let (state, since) = match view.state {
        EdgeState::Live => (EdgeWord::Live, None),
        EdgeState::Behind(since) => (EdgeWord::Behind, Some(since)),
        EdgeState::Missing(since) => (EdgeWord::Missing, Some(since)),
    };
    EdgeItem {
        edge: view.name,
        state,
        since: since.map(time),
        behind: view.behind,
        report: view.report.map(report),
    }
}

fn report(report: Report) -> EdgeReport {
    let started = Duration::from_secs(report.started.min(LAST_SECOND));
    EdgeReport {
        epoch: report.epoch,
        applied: report.applied,
        version: report.version,
        started: time(SystemTime::UNIX_EPOCH + started),
        workers: report.workers,
        status_url: report.status,
        reads_replica: report.reads_replica,
        draining: report.draining,
    }
}

/// What an edge lacks, as the body of a problem has it.
fn item(lacking: Lacking) -> LackingItem {
    let mut item = LackingItem {
        edge: lacking.edge,
        why: LackingWord::Missing,
        since: None,
        applied: None,
        in_flight: None,
    };
    match lacking.why {
        Holdup::Missing(since) => item.since = Some(time(since)),
        Holdup::OtherEpoch => item.why = LackingWord::OtherEpoch,
        Holdup::Applied(revision) => {
            item.why = LackingWord::Behind;
            item.applied = Some(revision);
        }
        Holdup::InFlight(count) => {
            item.why = LackingWord::InFlight;
            item.in_flight = Some(count);
        }
    }
    item
}
