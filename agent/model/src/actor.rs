//! Who makes a change.

use serde::{Deserialize, Serialize};

/// The value of the key `actor`, which is written in one transaction with what
/// it changes: whoever watches finds at a revision who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Actor {
    /// A client of the API.
    Api {
        /// The agent that serves it.
        agent: String,
        /// Its address, if it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caller: Option<String>,
        /// The id of the request.
        request: String,
    },
    /// An agent by itself.
    Agent {
        /// Its name.
        agent: String,
    },
}

/// An actor with the time of the change.
#[derive(Serialize, Deserialize)]
struct Signature {
    #[serde(flatten)]
    actor: Actor,
    /// Milliseconds since 1970.
    at: u64,
}

impl Actor {
    /// Reads a value and the time in it, in milliseconds since 1970; a bad one
    /// names nobody.
    pub fn from_value(raw: &[u8]) -> Option<(Self, u64)> {
        let signature: Signature = serde_json::from_slice(raw).ok()?;
        Some((signature.actor, signature.at))
    }

    /// The value to write, at `at` milliseconds since 1970.
    pub fn to_value(self, at: u64) -> String {
        serde_json::json!(Signature { actor: self, at }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_as_it_was_written() {
        let api = Actor::Api {
            agent: "agent-1".to_owned(),
            caller: Some("127.0.0.1:5000".to_owned()),
            request: "7".to_owned(),
        };
        let value = api.clone().to_value(1_700_000_000_123);
        assert_eq!(
            value,
            r#"{"by":"api","agent":"agent-1","caller":"127.0.0.1:5000","request":"7","at":1700000000123}"#
        );
        let read = Actor::from_value(value.as_bytes());
        assert_eq!(read, Some((api, 1_700_000_000_123)));
    }

    #[test]
    fn a_bad_value_names_nobody() {
        for raw in [
            "",
            "{}",
            r#"{"by":"api","at":1}"#,
            r#"{"by":"root","at":1}"#,
        ] {
            assert_eq!(Actor::from_value(raw.as_bytes()), None, "{raw}");
        }
    }
}
