//! Routes: which app a host goes to.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::BadValue;

/// A route as it is written: `app`, or `rules`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteBody {
    /// Short for the one rule that sends all requests to an app.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9._-]{1,128}$")]
    pub app: Option<String>,
    /// The rules, 1 to 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 64)]
    pub rules: Option<Vec<RuleBody>>,
}

/// A rule of a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// The prefix of the path; `/` if it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Conditions, all of which must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 16)]
    pub when: Option<Vec<ConditionBody>>,
    /// Where requests go, 1 to 16 targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 16)]
    pub to: Option<Vec<TargetBody>>,
    /// Instead of `to`: a redirect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectBody>,
    /// Instead of `to`: 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceBody>,
    /// Takes the matched path off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<bool>,
    /// The path that takes the place of the matched one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<String>,
    /// Edits of headers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersBody>,
    /// What keeps a user on one side of a split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split_by: Option<HashByBody>,
}

/// What a request must have.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConditionBody {
    /// The name of a header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The name of a cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The name of a query parameter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The method, one of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 16)]
    pub method: Option<Vec<String>>,
    /// The value is this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// The value begins with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// The value is there, or is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
}

/// An app that requests go to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetBody {
    /// The app.
    #[schema(pattern = "^[a-z0-9._-]{1,128}$")]
    pub app: String,
    /// Its share, 100 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 65535)]
    pub weight: Option<u16>,
    /// Requests that go there in any case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<ConditionBody>,
}

/// A redirect. What is left out stays as the request has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedirectBody {
    /// 301, 302 (the default), 307 or 308.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 301, maximum = 308)]
    pub status: Option<u16>,
    /// `http` or `https`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^https?$")]
    pub scheme: Option<String>,
    /// The host, perhaps with a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A 503 for all requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceBody {
    /// A duration in whole seconds, like `10m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// The body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 4096)]
    pub body: Option<String>,
    /// The body's type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// Edits of headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HeadersBody {
    /// Of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<EditsBody>,
    /// Of the response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<EditsBody>,
}

/// Edits of one side's headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditsBody {
    /// Names and values, in the order in which they were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    pub set: Option<IndexMap<String, String>>,
    /// Names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_items = 32)]
    pub remove: Option<Vec<String>>,
}

/// What of a request is hashed: one of these.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HashByBody {
    /// The client's address; `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<bool>,
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// A cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// The path and query; `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<bool>,
}

/// A route as etcd has it: `rules`, or `bad`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteAnswer {
    /// The host.
    pub host: String,
    /// The revision of its last change.
    pub revision: i64,
    /// Its rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rules: Option<Vec<RuleBody>>,
    /// That its requests wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub pause: Option<PauseItem>,
    /// Why the value in etcd is no route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bad: Option<BadValue>,
}

/// A pause of a route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PauseItem {
    /// How many requests may wait at each edge.
    pub max: u32,
    /// How long it lasts unless it is ended before, in whole seconds: `29s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub left: Option<String>,
}

/// The query of a pause.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseQuery {
    /// How long, in whole seconds from `1s` to `1h`; `30s` by default.
    #[serde(default)]
    #[schema(nullable = false)]
    pub r#for: Option<String>,
    /// How many requests may wait at each edge, 1000 by default.
    #[serde(default)]
    #[schema(nullable = false, minimum = 1, maximum = 100_000)]
    pub max: Option<u32>,
    /// Waits for so long until every edge has applied the write, as
    /// `/v1/wait` does.
    #[serde(default)]
    #[schema(nullable = false)]
    pub wait: Option<String>,
    /// Whether to say what the write would do, and make none.
    #[serde(default)]
    pub dry_run: bool,
}
