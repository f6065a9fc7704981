//! Events: what was changed in the registry, and who did it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// The query of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Only changes after this revision, the oldest first; left out: the last
    /// ones.
    #[serde(default)]
    #[schema(nullable = false)]
    pub since: Option<i64>,
    /// 1 to 1000, 100 by default.
    #[schema(nullable = false, minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
}

/// Changes of the registry, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventList {
    /// The changes. Those of one revision are never torn apart, so there may be
    /// more than `limit`.
    pub events: Vec<EventItem>,
    /// The agent knows all changes from this revision on; older ones may be
    /// missing.
    pub from: i64,
    /// Whether later changes are known: ask again with `since` as the last
    /// `revision`.
    pub more: bool,
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventItem {
    /// The revision that it made. Several changes may have one.
    pub revision: i64,
    /// When (RFC 3339), by the clock of whoever made it; of a change that does
    /// not say, when this agent saw it, and null if that was not at once.
    #[schema(required)]
    pub at: Option<String>,
    /// Who made it.
    pub by: ActorWord,
    /// The client of the API, `address:port`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub caller: Option<String>,
    /// The `X-Request-Id` of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub request: Option<String>,
    /// The agent that served the call, or made the change by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent: Option<String>,
    /// What was changed: `route`, `app`, `instance`, `override`, `health`,
    /// `pause`, `settings`, `set` or `edge`.
    pub kind: String,
    /// Its name: a host, an app, `<app>/<id>`, an edge; empty for the settings.
    pub name: String,
    /// What happened to it.
    pub op: EventOp,
    /// What it was; null if it was not there, or is not known any more.
    #[schema(required)]
    pub before: Option<Value>,
    /// What it is; null if it is gone.
    #[schema(required)]
    pub value: Option<Value>,
}

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActorWord {
    /// A client of this API.
    Api,
    /// An agent by itself: what probes found, edges that come and go.
    Agent,
    /// A client of etcd, or the end of a lease.
    Etcd,
}

impl ActorWord {
    /// The word, as it stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            ActorWord::Api => "api",
            ActorWord::Agent => "agent",
            ActorWord::Etcd => "etcd",
        }
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventOp {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
    /// It went with its lease.
    Expired,
}

impl EventOp {
    /// The word, as it stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            EventOp::Put => "put",
            EventOp::Delete => "delete",
            EventOp::Expired => "expired",
        }
    }
}

/// The data of a `gap` in a stream of events: changes before `from` may be
/// missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventGap {
    /// All changes from this revision on follow.
    pub from: i64,
}
