//! The policy of an app: what it asks of the edge.
//!
//! All fields are optional. One that is not there is the registry's default
//! (`defaults` of the settings), or else the edge's.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{Bad, HashBy};
use crate::Revision;

mod balance;
mod ceilings;
mod consistency;
mod health_check;
mod kinds;
mod passive;
mod protocol;
mod sticky;
#[cfg(test)]
mod tests;
mod wake;

pub use balance::Balance;
pub use ceilings::Ceilings;
pub use health_check::{CheckKind, CheckStatus, HealthCheck, InitialState};
use kinds::{HeaderName, Millis, PolicyField, Whole};
pub use passive::{FailOn, Failure};
pub use protocol::{Scheme, ServerName};
pub use sticky::{SameSite, Sticky};
pub use wake::WakeUp;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

/// The fields, in the order in which they are written, each with its type and
/// with what the edge takes where it is not there: that is left out of records.
macro_rules! policy {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr;)*) => {
        /// What an app asks of the edge; a field that is `None` is left to the
        /// registry's defaults.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Policy {
            $($(#[$doc])* pub $field: Option<$type>,)*
        }

        const FIELDS: &[&str] = &[$(stringify!($field)),*];

        impl Policy {
            fn take(fields: &mut Fields) -> Result<Self, Bad> {
                Ok(Self {
                    $($field: fields
                        .take(stringify!($field))
                        .map(|value| <$type>::read(stringify!($field), value))
                        .transpose()?,)*
                })
            }

            fn map(&self) -> Map<String, Value> {
                let mut map = Map::new();
                $(if let Some(set) = &self.$field {
                    map.insert(stringify!($field).to_owned(), set.value());
                })*
                map
            }

            fn add_to_record(&self, record: &mut Map<String, Value>) {
                $(if let Some(set) = &self.$field {
                    let default: Option<$type> = $default;
                    if default.as_ref() != Some(set) {
                        set.add_to_record(stringify!($field), record);
                    }
                })*
            }

            /// Each field of this one, or else that of the other.
            fn or(&self, other: Self) -> Self {
                Self {
                    $($field: self.$field.clone().or(other.$field),)*
                }
            }
        }
    };
}

policy! {
    /// How an instance is picked.
    balance: Balance = Some(Balance::RoundRobin);
    /// What [`Balance::Hash`] hashes.
    hash_by: HashBy = None;
    /// How many other instances are tried.
    retries: Whole<0, 16> = Some(Whole::new(1));
    /// Whether 500, 502, 503 and 504 of an idempotent request are tried again.
    retry_5xx: bool = Some(false);
    /// Whether an `Idempotency-Key` makes a POST or PATCH idempotent.
    retry_idempotency_key: bool = Some(false);
    /// How many percent of the requests may be retries.
    retry_budget: Whole<0, 1000> = Some(Whole::new(20));
    /// When the last attempt may begin, and how long it may wait.
    deadline: Millis<1, HOUR> = None;
    /// How long a connection may take to be made.
    connect_timeout: Millis<1, HOUR> = None;
    /// How long the instance may take between two reads of the request.
    send_timeout: Millis<1, HOUR> = None;
    /// How long the instance may take between two parts of the answer.
    read_timeout: Millis<1, HOUR> = None;
    /// How long an upgraded connection, such as a WebSocket, may be idle.
    idle_timeout: Millis<1_000, DAY> = Some(Millis::new(HOUR));
    /// How many failures within `fail_timeout` eject an instance.
    max_fails: Whole<1, 1000> = Some(Whole::new(1));
    /// Within what time failures count, and how long an instance is ejected.
    fail_timeout: Millis<100, HOUR> = Some(Millis::new(10_000));
    /// What counts as a failure.
    fail_on: FailOn = Some(FailOn::default());
    /// How long a new instance takes to get its whole share.
    slow_start: Millis<1_000, HOUR> = None;
    /// Whether instances of the edge's own zone come first.
    prefer_zone: bool = Some(false);
    /// How many requests an instance has in flight at the most.
    max_conns: Whole<1, 65535> = None;
    /// Whether a client stays with an instance.
    sticky: Sticky = None;
    /// The header by which a request may name its instance.
    pin_header: HeaderName = None;
    /// What instances speak.
    scheme: Scheme = Some(Scheme::Http);
    /// The name that an instance proves by its certificate.
    server_name: ServerName = None;
    /// Whether answers are buffered.
    buffering: bool = Some(true);
    /// How agents probe instances; not a matter of the edge.
    health_check: HealthCheck = None;
    /// What starts the app when it has no instance.
    wake: WakeUp = None;
}

impl Policy {
    /// Reads a value, as in etcd or in a request to the API.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let fields = Fields::parse("an app's policy", raw)?;
        Self::from_fields(fields).map_err(Bad::located)
    }

    /// Reads the defaults of the settings.
    pub(super) fn from_json(value: Value) -> Result<Self, Bad> {
        Self::from_fields(Fields::from_value("a policy", value)?)
    }

    fn from_fields(mut fields: Fields) -> Result<Self, Bad> {
        let policy = Self::take(&mut fields)?;
        fields.finish(&FIELDS.join(", "))?;
        policy.check()?;
        Ok(policy)
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        self.to_json().to_string()
    }

    pub(super) fn to_json(&self) -> Value {
        Value::Object(self.map())
    }

    /// The record in Redis: no defaults of the edge's, no health check, and
    /// durations in milliseconds.
    pub fn record(&self, rev: Revision) -> String {
        let mut record = Map::new();
        record.insert("rev".to_owned(), rev.to_string().into());
        self.add_to_record(&mut record);
        Value::Object(record).to_string()
    }
}
