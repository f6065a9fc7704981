//! The policy of an app.

use std::time::Duration;

use serde_json::{Value, json};

use super::fields::Fields;
use super::{Bad, BadCode, quoted};
use crate::store::Revision;

const FIELDS: &str = "balance, retries, fail_timeout";
const MOST_RETRIES: u64 = 16;
const SHORTEST_FAIL_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_FAIL_TIMEOUT: Duration = Duration::from_secs(3600);

/// How an instance is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other, by weight.
    RoundRobin,
}

/// What an app asks of the edge. A field that is `None` takes the edge's
/// default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How an instance is picked.
    pub balance: Option<Balance>,
    /// How many other instances are tried when a connection fails.
    pub retries: Option<u8>,
    /// How long an instance that refused a connection is left out.
    pub fail_timeout: Option<Duration>,
}

impl Policy {
    /// Reads a value, as in etcd or in a request to the API.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields::parse("an app's policy", raw)?;
        let policy = Self {
            balance: fields
                .take_string("balance")?
                .map(|s| balance(&s))
                .transpose()?,
            retries: fields.take("retries").map(|v| retries(&v)).transpose()?,
            fail_timeout: fields
                .take_string("fail_timeout")?
                .map(|s| fail_timeout(&s))
                .transpose()?,
        };
        fields.finish(FIELDS)?;
        Ok(policy)
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        let mut value = json!({});
        if let Some(Balance::RoundRobin) = self.balance {
            value["balance"] = json!("round_robin");
        }
        if let Some(retries) = self.retries {
            value["retries"] = json!(retries);
        }
        if let Some(timeout) = self.fail_timeout {
            value["fail_timeout"] = json!(humantime::format_duration(timeout).to_string());
        }
        value.to_string()
    }

    /// The record in Redis; durations are milliseconds.
    pub fn record(&self, rev: Revision) -> String {
        let mut value = json!({ "rev": rev.to_string() });
        if let Some(Balance::RoundRobin) = self.balance {
            value["balance"] = json!("round_robin");
        }
        if let Some(retries) = self.retries {
            value["retries"] = json!(retries);
        }
        if let Some(timeout) = self.fail_timeout {
            value["fail_timeout_ms"] =
                json!(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
        value.to_string()
    }
}

fn balance(text: &str) -> Result<Balance, Bad> {
    match text {
        "round_robin" => Ok(Balance::RoundRobin),
        "least_conn" | "ewma" | "hash" | "random" => Err(Bad::new(
            BadCode::NotSupported,
            format!(
                "\"balance\": {} is not built yet; \"round_robin\" is",
                quoted(text)
            ),
        )
        .field("balance")),
        _ => Err(Bad::new(
            BadCode::BadValue,
            format!("\"balance\" must be \"round_robin\", not {}", quoted(text)),
        )
        .field("balance")),
    }
}

fn retries(value: &Value) -> Result<u8, Bad> {
    value
        .as_u64()
        .filter(|n| *n <= MOST_RETRIES)
        .and_then(|n| u8::try_from(n).ok())
        .ok_or_else(|| {
            let detail =
                format!("\"retries\" must be a whole number from 0 to {MOST_RETRIES}, not {value}");
            Bad::new(BadCode::BadValue, detail).field("retries")
        })
}

fn fail_timeout(text: &str) -> Result<Duration, Bad> {
    humantime::parse_duration(text)
        .ok()
        .filter(|d| (SHORTEST_FAIL_TIMEOUT..=LONGEST_FAIL_TIMEOUT).contains(d))
        .ok_or_else(|| {
            let detail = format!(
                "\"fail_timeout\" must be a duration from 100ms to 1h, like \"10s\", not {}",
                quoted(text)
            );
            Bad::new(BadCode::BadValue, detail).field("fail_timeout")
        })
}
