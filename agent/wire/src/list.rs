//! Lists, read from the agent's table.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::RuleBody;

/// The query of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// What names begin with.
    #[serde(default)]
    pub prefix: String,
    /// 1 to 1000, 100 by default.
    #[schema(nullable = false)]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// The `next` of the page before.
    #[schema(nullable = false)]
    pub cursor: Option<String>,
}

/// Routes, in the order of their hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteList {
    /// This page.
    pub routes: Vec<RouteItem>,
    /// The cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// The revision of the table.
    pub revision: i64,
}

/// A route in a list: `rules`, or `bad`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteItem {
    /// The host.
    pub host: String,
    /// The revision of its last change.
    pub revision: i64,
    /// Its rules.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub rules: Option<Vec<RuleBody>>,
    /// `true` if the value in etcd is no route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bad: Option<bool>,
}

/// Apps, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppList {
    /// This page.
    pub apps: Vec<AppItem>,
    /// The cursor of the next page; null at the end.
    #[schema(required)]
    pub next: Option<String>,
    /// The revision of the table.
    pub revision: i64,
}

/// An app in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AppItem {
    /// Its name.
    pub app: String,
    /// The revision of its policy; null if it has none.
    #[schema(required)]
    pub revision: Option<i64>,
    /// How many instances it has.
    pub instances: usize,
    /// How many of them get requests.
    pub live: usize,
}
