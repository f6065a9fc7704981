//! How an instance is picked.

use serde_json::Value;

use super::kinds::PolicyField;
use crate::fields::string;
use crate::values::{word, word_of};
use crate::{Bad, HashBy};

const BALANCES: &[(&str, Balance)] = &[
    ("round_robin", Balance::RoundRobin),
    ("least_conn", Balance::LeastConn),
    ("ewma", Balance::Ewma),
    ("random", Balance::Random),
    ("hash", Balance::Hash),
];

/// How an instance is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, by weight.
    RoundRobin,
    /// The one with the fewest requests in flight.
    LeastConn,
    /// The quicker of two.
    Ewma,
    /// The less busy of two at random.
    Random,
    /// By a hash of what the policy's `hash_by` says.
    Hash,
}

impl PolicyField for Balance {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        word(name, &string(name, value)?, BALANCES)
    }

    fn value(&self) -> Value {
        word_of(self, BALANCES).into()
    }
}

impl PolicyField for HashBy {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        HashBy::from_json("what is hashed", value).map_err(|bad| bad.within(name))
    }

    fn value(&self) -> Value {
        self.to_json()
    }
}
