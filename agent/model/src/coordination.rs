//! Values by which an operator allows what agents would not do by themselves.

use serde::{Deserialize, Serialize};

/// The value of the key `adopt`: the table in Redis, which is that of another
/// epoch, may be replaced. It is spent once that epoch is gone from Redis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adoption {
    /// The epoch that etcd names.
    pub epoch: String,
    /// The epoch whose table may be replaced.
    pub replaces: String,
}

impl Adoption {
    /// Reads a value; a bad one allows nothing.
    pub fn from_value(raw: &[u8]) -> Option<Self> {
        serde_json::from_slice(raw).ok()
    }

    /// The value to write.
    pub fn to_value(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

/// The value of the key `confirm`: a listing may remove much from the table
/// that stands in Redis at this epoch and revision, and from no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// Redis's epoch.
    pub epoch: String,
    /// Redis's revision.
    pub rev: i64,
}

impl Confirmation {
    /// Reads a value; a bad one confirms nothing.
    pub fn from_value(raw: &[u8]) -> Option<Self> {
        serde_json::from_slice(raw).ok()
    }

    /// The value to write.
    pub fn to_value(&self) -> String {
        serde_json::json!(self).to_string()
    }
}
