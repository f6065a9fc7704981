//! Instances, and the app that they are of.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{BadValue, PolicyBody};

/// An instance as it is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InstanceBody {
    /// `IPv4:port` or `[IPv6]:port`.
    pub addr: String,
    /// Its share, 100 by default; 0: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 65535)]
    pub weight: Option<u16>,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]{1,64}$")]
    pub zone: Option<String>,
    /// Whether other instances may have the address at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// How long it stays without a heartbeat, like `30s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
}

/// The body of a call that takes no field: `{}`, or nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainingBody {}

/// An app: its policy as etcd has it, its instances as the table has them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AppAnswer {
    /// Its name.
    pub app: String,
    /// The revision of its policy; null if it has none.
    #[schema(required)]
    pub revision: Option<i64>,
    /// Its policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub policy: Option<PolicyBody>,
    /// What holds, if it is not the policy over the defaults: ceilings clamp it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub effective: Option<PolicyBody>,
    /// Why the value in etcd is no policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub bad: Option<BadValue>,
    /// How many instances get requests.
    pub live: usize,
    /// Its instances.
    pub instances: Vec<InstanceItem>,
    /// The revision of the table.
    pub instances_at: i64,
}

/// An instance of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InstanceItem {
    /// Its id.
    pub id: String,
    /// Where it listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub addr: Option<String>,
    /// Its share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub weight: Option<u16>,
    /// Its failure domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub zone: Option<String>,
    /// Whether others may have its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub shared: Option<bool>,
    /// Whether it gets requests, and if not, why.
    pub state: InstanceWord,
    /// The instance that has its address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub shadowed_by: Option<OwnerName>,
    /// In what way probes found it wrong: `refused`, `timeout`, `tls`, `status`,
    /// `body` or `broken`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason_class: Option<String>,
    /// What probes found; for admins only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub reason: Option<String>,
    /// The revision of its last change.
    pub revision: i64,
}

/// Whether an instance gets requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InstanceWord {
    /// It does.
    Live,
    /// It waits for its first good probe.
    Pending,
    /// It gets no new ones.
    Draining,
    /// Probes found that it does not answer as it should.
    Unhealthy,
    /// Its address belongs to a younger instance.
    Shadowed,
    /// The settings do not allow its address.
    NotAllowed,
    /// Its value in etcd cannot be used.
    Bad,
}

/// The instance that has an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OwnerName {
    /// Its app.
    pub app: String,
    /// Its id.
    pub id: String,
}
