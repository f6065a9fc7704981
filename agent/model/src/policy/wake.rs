//! What starts an app that has no instance.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::kinds::PolicyField;
use crate::fields::Fields;
use crate::path::literal;
use crate::values::{bad_value, duration, span, whole};
use crate::{Bad, HostPort, quoted};

const FIELDS: &str = "url, timeout, max_waiting";
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_MAX: u32 = 1_000;
const LARGEST_MAX: u32 = 100_000;

/// What an edge calls when a request finds no instance of the app, and how long
/// the request then waits; what is `None` is as by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WakeUp {
    /// What is called, in canonical form.
    pub url: Box<str>,
    timeout: Option<Duration>,
    max_waiting: Option<u32>,
}

impl WakeUp {
    /// How long a request waits for an instance.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// How many requests wait at each edge.
    pub fn max_waiting(&self) -> u32 {
        self.max_waiting.unwrap_or(DEFAULT_MAX)
    }
}

impl PolicyField for WakeUp {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        read(value).map_err(|bad| bad.within(name))
    }

    fn value(&self) -> Value {
        let mut value = json!({ "url": self.url });
        if let Some(timeout) = self.timeout {
            value["timeout"] = json!(span(timeout));
        }
        if let Some(max) = self.max_waiting {
            value["max_waiting"] = json!(max);
        }
        value
    }

    /// With the defaults, and the time-out in seconds.
    fn add_to_record(&self, name: &str, record: &mut Map<String, Value>) {
        let timeout = self.timeout();
        let seconds = if timeout.subsec_millis() == 0 {
            json!(timeout.as_secs())
        } else {
            json!(timeout.as_secs_f64())
        };
        let value = json!({ "url": self.url, "timeout": seconds, "max": self.max_waiting() });
        record.insert(name.to_owned(), value);
    }
}

fn read(value: Value) -> Result<WakeUp, Bad> {
    let mut fields = Fields::from_value("a wake-up", value)?;
    let wake = WakeUp {
        url: url(&fields.require_string("url")?)?,
        timeout: fields
            .take("timeout")
            .map(|v| duration("timeout", &v, TIMEOUT.0, TIMEOUT.1))
            .transpose()?,
        max_waiting: fields
            .take("max_waiting")
            .map(|v| whole("max_waiting", &v, 1, LARGEST_MAX))
            .transpose()?,
    };
    fields.finish(FIELDS)?;
    Ok(wake)
}

fn url(text: &str) -> Result<Box<str>, Bad> {
    let bad = |why: &str| {
        let detail = format!(
            "\"url\" must be an absolute URL like \"http://10.0.0.9:8080/wake\", not {}: {why}",
            quoted(text)
        );
        bad_value("url", detail)
    };
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let scheme = scheme.to_ascii_lowercase();
    if !matches!(&*scheme, "http" | "https") {
        return Err(bad("its scheme must be http or https"));
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.contains('@') {
        return Err(bad("it must not hold a user or a password"));
    }
    let host = HostPort::from_user("url", authority).map_err(|refused| bad(&refused.detail))?;
    let path = match path.strip_prefix('/') {
        Some(_) => path.to_owned(),
        None => format!("/{path}"),
    };
    let path = literal("url", &path, true).map_err(|refused| bad(&refused.detail))?;
    Ok(format!("{scheme}://{}{path}", host.as_str()).into())
}
