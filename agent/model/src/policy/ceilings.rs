//! Ceilings: what no app's policy may exceed, since it costs other apps.

use std::time::Duration;

use serde_json::{Map, Value};

use super::kinds::{Millis, PolicyField, Whole};
use super::{DAY, HOUR, HealthCheck, Policy};
use crate::Bad;
use crate::fields::Fields;
use crate::values::{bad_value, duration, span};

/// What nginx takes for a time-out that its configuration does not name.
const NGINX_TIMEOUT: u64 = 60_000;

/// The fields, each with its type and with what an edge takes for a policy that
/// lacks it; `None`: no limit at all.
macro_rules! ceilings {
    ($($(#[$doc:meta])* $field:ident: $type:ty = $default:expr;)*) => {
        /// What no app's policy may exceed; a field that is `None` is unlimited.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Ceilings {
            $($(#[$doc])* pub $field: Option<$type>,)*
            /// How often an instance may be probed: the shortest interval.
            pub health_check_interval: Option<Duration>,
            /// How long a probe may take.
            pub health_check_timeout: Option<Duration>,
        }

        const FIELDS: &[&str] = &[
            $(stringify!($field),)* "health_check_interval", "health_check_timeout",
        ];

        impl Ceilings {
            fn take(fields: &mut Fields) -> Result<Self, Bad> {
                Ok(Self {
                    $($field: fields
                        .take(stringify!($field))
                        .map(|value| <$type>::read(stringify!($field), value))
                        .transpose()?,)*
                    health_check_interval: span_of(fields, "health_check_interval", INTERVAL)?,
                    health_check_timeout: span_of(fields, "health_check_timeout", TIMEOUT)?,
                })
            }

            fn map(&self) -> Map<String, Value> {
                let mut map = Map::new();
                $(if let Some(set) = &self.$field {
                    map.insert(stringify!($field).to_owned(), set.value());
                })*
                let spans = [
                    ("health_check_interval", self.health_check_interval),
                    ("health_check_timeout", self.health_check_timeout),
                ];
                for (name, set) in spans {
                    map.extend(set.map(|set| (name.to_owned(), Value::from(span(set)))));
                }
                map
            }

            /// Refuses a policy that exceeds one of them.
            pub fn check(&self, policy: &Policy) -> Result<(), Bad> {
                $(if let (Some(ceiling), Some(set)) = (self.$field, policy.$field)
                    && set.get() > ceiling.get()
                {
                    return Err(exceeded(stringify!($field), &set.value(), &ceiling.value()));
                })*
                self.check_probes(policy)
            }

            /// The policy as it holds beneath them: what exceeds one, or is not
            /// there and would exceed it at the edge, is the ceiling.
            pub fn clamp(&self, policy: &mut Policy) {
                $(if let Some(ceiling) = self.$field {
                    let default: Option<$type> = $default;
                    let taken = policy.$field.or(default);
                    if taken.is_none_or(|taken| taken.get() > ceiling.get()) {
                        policy.$field = Some(ceiling);
                    }
                })*
                if let Some(check) = &mut policy.health_check {
                    *check = self.limited(check);
                }
            }
        }
    };
}

ceilings! {
    /// How long a connection may take to be made.
    connect_timeout: Millis<1, HOUR> = Some(Millis::new(NGINX_TIMEOUT));
    /// How long the instance may take between two reads of the request.
    send_timeout: Millis<1, HOUR> = Some(Millis::new(NGINX_TIMEOUT));
    /// How long the instance may take between two parts of the answer.
    read_timeout: Millis<1, HOUR> = Some(Millis::new(NGINX_TIMEOUT));
    /// How long an upgraded connection may be idle.
    idle_timeout: Millis<1_000, DAY> = Some(Millis::new(HOUR));
    /// When the last attempt may begin.
    deadline: Millis<1, HOUR> = None;
    /// How many requests an instance has in flight at the most.
    max_conns: Whole<1, 65535> = None;
    /// How many other instances are tried.
    retries: Whole<0, 16> = Some(Whole::new(1));
    /// How many percent of the requests may be retries.
    retry_budget: Whole<0, 1000> = Some(Whole::new(20));
}

const INTERVAL: (u64, u64) = (1_000, HOUR);
const TIMEOUT: (u64, u64) = (10, 60_000);

impl Ceilings {
    /// Reads the field of the settings.
    pub(crate) fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("the ceilings", value)?;
        let ceilings = Self::take(&mut fields)?;
        fields.finish(&FIELDS.join(", "))?;
        Ok(ceilings)
    }

    pub(crate) fn to_json(&self) -> Value {
        Value::Object(self.map())
    }

    /// A health check as it holds beneath them.
    pub fn limited(&self, check: &HealthCheck) -> HealthCheck {
        let mut check = check.clone();
        check.limit(self.health_check_interval, self.health_check_timeout);
        check
    }

    fn check_probes(&self, policy: &Policy) -> Result<(), Bad> {
        let Some(check) = &policy.health_check else {
            return Ok(());
        };
        if let Some(shortest) = self.health_check_interval
            && check.interval() < shortest
        {
            let detail = format!(
                "\"health_check.interval\" is {}, and the settings' ceiling \
                 \"health_check_interval\" allows probes every {} at the most",
                span(check.interval()),
                span(shortest)
            );
            return Err(bad_value("health_check.interval", detail));
        }
        match self.health_check_timeout {
            Some(longest) if check.timeout() > longest => Err(exceeded(
                "health_check.timeout",
                &span(check.timeout()).into(),
                &span(longest).into(),
            )),
            _ => Ok(()),
        }
    }
}

fn span_of(fields: &mut Fields, name: &str, range: (u64, u64)) -> Result<Option<Duration>, Bad> {
    let (least, most) = (
        Duration::from_millis(range.0),
        Duration::from_millis(range.1),
    );
    let found = fields.take(name);
    found
        .map(|value| duration(name, &value, least, most))
        .transpose()
}

fn exceeded(name: &str, value: &Value, ceiling: &Value) -> Bad {
    let plain = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
    let detail = format!(
        "\"{name}\" is {}, and the settings' ceiling for it is {}",
        plain(value),
        plain(ceiling)
    );
    bad_value(name, detail)
}
