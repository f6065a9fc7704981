//! Explain: what would become of a request, and why.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::InstanceItem;

/// The query of explain: a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The absolute URL, `http://host/path?query`.
    pub url: String,
    /// The method, `GET` by default.
    #[serde(default)]
    #[schema(nullable = false)]
    pub method: Option<String>,
    /// A header, `Name: value`; may be repeated.
    #[serde(default)]
    pub header: Vec<String>,
    /// The client's IP address, for what goes by it.
    #[serde(default)]
    #[schema(nullable = false)]
    pub client: Option<String>,
}

/// What would become of a request: as this agent's table has it, and as each
/// edge says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainAnswer {
    /// The revision of the agent's table.
    pub revision: i64,
    /// The host of the request, in canonical form.
    pub host: String,
    /// The host of the route that matches; null if none does.
    #[schema(required)]
    pub route: Option<String>,
    /// The revision of the route's last change.
    #[schema(required)]
    pub route_revision: Option<i64>,
    /// The app: that to which all of the route's rules lead, otherwise the one
    /// that all edges name; null if there is no such app.
    #[schema(required)]
    pub app: Option<String>,
    /// The instances of the app; of all apps of the route if `app` is null.
    pub instances: Vec<ExplainedInstance>,
    /// What each edge says, by name.
    pub edges: Vec<ExplainedEdge>,
    /// Where the edges differ from the agent or from each other, for people;
    /// empty if they do not.
    pub differences: Vec<String>,
}

/// An instance, as this agent's table has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedInstance {
    /// Its app.
    pub app: String,
    /// What it is.
    #[serde(flatten)]
    pub item: InstanceItem,
}

/// What an edge says: `answer`, or `error`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainedEdge {
    /// Its name.
    pub edge: String,
    /// Its own answer, see the status listener's `/pointsman/explain`.
    #[schema(required)]
    pub answer: Option<Value>,
    /// Why there is none.
    #[schema(required)]
    pub error: Option<String>,
}
