//! What several calls answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::OwnerName;

/// A write that was made, or that a dry run would make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// etcd's revision of it; null in a dry run.
    #[schema(required)]
    pub revision: Option<i64>,
    /// What may be a mistake.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The other app's instance that lacks its address now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub displaced: Option<OwnerName>,
    /// How many live instances it takes out of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub out_of_service: Option<usize>,
}

impl Changed {
    /// A write of this revision, of which nothing else is to be said.
    pub fn at(revision: i64) -> Self {
        Self {
            revision: Some(revision),
            ..Self::default()
        }
    }

    /// The revision; 0 if nothing was written.
    pub fn revision(&self) -> i64 {
        self.revision.unwrap_or_default()
    }
}

/// What may be a mistake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// The stable word.
    pub code: WarningCode,
    /// The sentence for people; may change.
    pub detail: String,
}

/// What may be a mistake, as a stable word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WarningCode {
    /// A rule names an app that has neither a policy nor an instance.
    AppUnknown,
    /// The address was that of another app's instance.
    AddressDisplaced,
    /// Another instance has the address, so this one gets no requests.
    AddressShadowed,
    /// The settings allow no instance at the address.
    AddressNotAllowed,
    /// The host went to other apps before.
    HostTakenOver,
    /// The host takes its requests from another app's wildcard.
    WildcardShadowed,
    /// More specific routes go before this wildcard.
    RouteShadowed,
}

/// A value in etcd that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BadValue {
    /// The stable word.
    pub code: String,
    /// The sentence for people.
    pub reason: String,
}
