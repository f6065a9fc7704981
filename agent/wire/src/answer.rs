//! What several calls answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A write that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// etcd's revision of it.
    pub revision: i64,
}

/// A value in etcd that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BadValue {
    /// The stable word.
    pub code: String,
    /// The sentence for people.
    pub reason: String,
}
