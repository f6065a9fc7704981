//! What counts as a failure of an instance.

use serde_json::Value;

use super::kinds::PolicyField;
use crate::Bad;
use crate::fields::string;
use crate::values::{array, bad_value, word, word_of};

const NAMES: &[(&str, Failure)] = &[
    ("connect", Failure::Connect),
    ("timeout", Failure::Timeout),
    ("5xx", Failure::ServerError),
];

/// A kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// The instance did not answer in time.
    Timeout,
    /// The instance answered 500, 502, 503 or 504.
    ServerError,
}

/// What counts as a failure, in the order of [`Failure`], each once; nothing:
/// no instance is ejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailOn(Vec<Failure>);

impl Default for FailOn {
    fn default() -> Self {
        Self(vec![Failure::Connect, Failure::Timeout])
    }
}

impl FailOn {
    /// The kinds.
    pub fn get(&self) -> &[Failure] {
        &self.0
    }
}

impl PolicyField for FailOn {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        let mut kinds = Vec::new();
        for item in array(name, value, 0, NAMES.len())? {
            let kind = word(name, &string(name, item)?, NAMES)?;
            if kinds.contains(&kind) {
                let twice = word_of(&kind, NAMES);
                let detail = format!("\"{name}\" names \"{twice}\" twice");
                return Err(bad_value(name, detail));
            }
            kinds.push(kind);
        }
        kinds.sort_unstable();
        Ok(Self(kinds))
    }

    fn value(&self) -> Value {
        self.0.iter().map(|kind| word_of(kind, NAMES)).collect()
    }
}
