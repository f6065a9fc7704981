//! What an agent says about itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The state of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusAnswer {
    /// The agent.
    pub agent: AgentName,
    /// Whether it is ready.
    pub ready: bool,
    /// What it waits for, until then.
    #[schema(required)]
    pub waiting_for: Option<String>,
    /// `starting`, `listing`, `rebuilding`, `connecting`, `streaming`, `holding` or
    /// `stopped`.
    pub phase: String,
    /// Why it is holding.
    #[schema(required)]
    pub hold_reason: Option<String>,
    /// The last error, while etcd or Redis is not connected.
    #[schema(required)]
    pub last_error: Option<String>,
    /// The registry's name.
    #[schema(required)]
    pub epoch: Option<String>,
    /// etcd.
    pub etcd: EtcdStatus,
    /// Redis.
    pub redis: RedisStatus,
    /// How far Redis is behind.
    pub lag: Lag,
    /// How much there is.
    pub records: RecordCounts,
    /// How many keys are bad.
    pub bad_total: usize,
    /// The first thousand of them.
    pub bad: Vec<BadKey>,
    /// How many addresses several instances claim.
    pub shadowed_total: usize,
    /// The first thousand of them.
    pub shadowed: Vec<Contested>,
}

/// An agent's name and version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentName {
    /// Its name.
    pub id: String,
    /// Its version.
    pub version: String,
}

/// What an agent knows of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EtcdStatus {
    /// Whether it answers.
    pub connected: bool,
    /// The last revision seen.
    pub revision_seen: i64,
}

/// What an agent knows of Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RedisStatus {
    /// Whether it answers.
    pub connected: bool,
    /// The last revision known to be in it.
    pub revision_applied: i64,
}

/// How far Redis is behind what was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lag {
    /// In revisions.
    pub revisions: i64,
    /// In changes that wait to be sent.
    pub waiting: usize,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RecordCounts {
    /// Routes.
    pub routes: usize,
    /// Apps.
    pub apps: usize,
    /// Instances.
    pub instances: usize,
}

/// A key in etcd with a bad name or value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BadKey {
    /// The key.
    pub key: String,
    /// The stable word.
    pub code: String,
    /// The sentence for people.
    pub reason: String,
}

/// An address that several instances claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Contested {
    /// The address.
    pub addr: String,
    /// The instance that has it: `<app>/<id>`.
    pub owner: String,
    /// Those that have not.
    pub losers: Vec<String>,
}
