//! What holds for the whole registry.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BadValue, PolicyBody};

/// The settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsBody {
    /// Where instances may be; without it, anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1)]
    pub allowed_networks: Option<Vec<String>>,
    /// Ports and ranges of ports, like `1024-65535`; without it, any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1, max_items = 64)]
    pub allowed_ports: Option<Vec<String>>,
    /// What no app's policy may exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ceilings: Option<CeilingsBody>,
    /// The policy beneath those of all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<PolicyBody>,
}

/// What no app's policy may exceed. A policy that lacks a field has nginx's
/// default, or the ceiling if that is lower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CeilingsBody {
    /// The time to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<String>,
    /// The time between two writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_timeout: Option<String>,
    /// The time between two reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<String>,
    /// How long an upgraded connection may be silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// The time for all tries together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Requests in flight for each instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub max_conns: Option<u32>,
    /// How many more instances are tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 16)]
    pub retries: Option<u32>,
    /// Retries in percent of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub retry_budget: Option<u32>,
    /// The shortest interval of health checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_interval: Option<String>,
    /// How long a probe may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check_timeout: Option<String>,
}

/// The settings as etcd has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettingsAnswer {
    /// The revision of their last change; null if there are none.
    #[schema(required)]
    pub revision: Option<i64>,
    /// The settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub settings: Option<SettingsBody>,
    /// Why the value in etcd is not settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bad: Option<BadValue>,
}
