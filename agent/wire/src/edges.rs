//! Edges: how far each is, and what it lacks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All edges that were ever heard from and have not quit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeList {
    /// The edges, by name.
    pub edges: Vec<EdgeItem>,
    /// The revision of the agent's table.
    pub revision: i64,
}

/// An edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeItem {
    /// Its name.
    pub edge: String,
    /// Whether it follows.
    pub state: EdgeWord,
    /// Since when it has been behind or missing (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub since: Option<String>,
    /// By how many revisions it is behind; left out if it follows another
    /// registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub behind: Option<i64>,
    /// What it last reported; null if this agent has never read a report of it.
    #[schema(required)]
    pub report: Option<EdgeReport>,
}

/// What an edge reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EdgeReport {
    /// The registry that it follows.
    pub epoch: String,
    /// The revision that all of its workers have applied.
    pub applied: i64,
    /// Its version of Pointsman.
    pub version: String,
    /// When its nginx was started (RFC 3339).
    pub started: String,
    /// Its worker processes.
    pub workers: u32,
    /// Where its status listener is; empty if the edge was not told.
    pub status_url: String,
    /// Whether it reads from a replica of Redis.
    pub reads_replica: bool,
    /// Requests in flight on each draining instance, `<app>/<id>`.
    pub draining: BTreeMap<String, u64>,
}

/// Whether an edge follows the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EdgeWord {
    /// It has what was there a second ago.
    Live,
    /// It reports, but lacks that.
    Behind,
    /// It does not report. It may still be serving.
    Missing,
}

/// What an edge lacks, so that something is not done everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LackingItem {
    /// The edge.
    pub edge: String,
    /// Why.
    pub why: LackingWord,
    /// Since when it has been missing (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub since: Option<String>,
    /// The revision that it has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub applied: Option<i64>,
    /// Requests in flight there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub in_flight: Option<u64>,
}

/// Why an edge holds something up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LackingWord {
    /// It does not report.
    Missing,
    /// It follows another registry.
    OtherEpoch,
    /// It has not applied the revision.
    Behind,
    /// Requests are in flight there.
    InFlight,
}

/// The query of a wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WaitQuery {
    /// The revision that every edge must have applied.
    pub revision: i64,
    /// How long to wait, `10s` by default; at most `10m`.
    #[serde(default)]
    #[schema(nullable = false)]
    pub timeout: Option<String>,
}

/// The query of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteQuery {
    /// Waits for so long until every edge has applied the write, as
    /// `/v1/wait` does.
    #[serde(default)]
    #[schema(nullable = false)]
    pub wait: Option<String>,
    /// Whether to say what the write would do, and make none.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether to make it even if more than half of the live instances would get
    /// no requests any more.
    #[serde(default)]
    pub force: bool,
}

/// The query of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainQuery {
    /// How long to wait, `30s` by default; at most `10m`.
    #[serde(default)]
    #[schema(nullable = false)]
    pub timeout: Option<String>,
}

/// Every edge has applied the revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WaitAnswer {
    /// The revision.
    pub revision: i64,
    /// The edges that have applied it.
    pub edges: Vec<String>,
}

/// The instance is drained: every edge has applied that, and nothing is in
/// flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DrainAnswer {
    /// The revision of the draining.
    pub revision: i64,
    /// The edges that have confirmed it.
    pub edges: Vec<String>,
}
