//! Sets: what was applied together.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A set as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBody {
    /// The keys of routes, apps, instances and settings.
    pub members: Vec<String>,
}

/// A set as etcd has it. One whose value is bad has no members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetAnswer {
    /// Its name.
    pub set: String,
    /// The revision of its last change.
    pub revision: i64,
    /// Its members, in the order of their kinds and names.
    pub members: Vec<String>,
}

/// All sets, in the order of their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SetList {
    /// The sets.
    pub sets: Vec<SetAnswer>,
    /// etcd's revision.
    pub revision: i64,
}
