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
    /// The policy beneath those of all apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<PolicyBody>,
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
