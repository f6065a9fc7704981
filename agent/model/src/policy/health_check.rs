//! How agents probe an app's instances.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::ServerName;
use super::kinds::PolicyField;
use crate::fields::{Fields, kind};
use crate::path::literal;
use crate::values::{bad_value, boolean, duration, printable, shown, span, whole, word, word_of};
use crate::{Bad, HostPort, quoted};

const FIELDS: &str = "type, tls, server_name, path, host, status, body, service, interval, \
                      timeout, rise, fall, initial";
const KINDS: &[(&str, CheckKind)] = &[
    ("http", CheckKind::Http),
    ("tcp", CheckKind::Tcp),
    ("grpc", CheckKind::Grpc),
];
const INITIAL: &[(&str, InitialState)] = &[
    ("pending", InitialState::Pending),
    ("healthy", InitialState::Healthy),
];
const LONGEST_SERVICE: usize = 256;
const LONGEST_BODY: usize = 256;
const MOST_STATUSES: usize = 32;
const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
const TIMEOUT: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(60));
const DEFAULT_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// How agents probe an app's instances; what is `None` is as by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub kind: CheckKind,
    /// Whether it is tried over TLS; the instance's certificate is verified.
    pub tls: bool,
    /// The name that is asked for by SNI and verified; if there is none, that of
    /// `host`, or the address.
    pub server_name: Option<ServerName>,
    path: Option<Box<str>>,
    /// The `Host` that is asked for; if there is none, the address.
    pub host: Option<HostPort>,
    status: Option<CheckStatus>,
    /// What the answer's body must hold.
    pub body: Option<Box<str>>,
    /// The gRPC service that is asked about; if there is none, the server as a
    /// whole.
    pub service: Option<Box<str>>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    rise: Option<u32>,
    fall: Option<u32>,
    /// What a new instance is until its first good probe.
    pub initial: InitialState,
}

/// What a new instance is until its first good probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitialState {
    /// It gets no requests.
    #[default]
    Pending,
    /// It gets its share.
    Healthy,
}

/// What is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CheckKind {
    /// A GET.
    #[default]
    Http,
    /// A connection.
    Tcp,
    /// The call `Check` of `grpc.health.v1.Health`.
    Grpc,
}

/// The statuses that are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckStatus {
    /// From, to.
    Range(u16, u16),
    /// One of these.
    List(Vec<u16>),
}

impl CheckStatus {
    /// Whether this status is good.
    pub fn accepts(&self, status: u16) -> bool {
        match self {
            CheckStatus::Range(from, to) => (*from..=*to).contains(&status),
            CheckStatus::List(list) => list.contains(&status),
        }
    }
}

impl HealthCheck {
    /// The path that is asked for, perhaps with a query.
    pub fn path(&self) -> &str {
        self.path.as_deref().unwrap_or("/")
    }

    /// Whether an answer of this status is good.
    pub fn accepts(&self, status: u16) -> bool {
        let default = CheckStatus::Range(200, 399);
        self.status.as_ref().unwrap_or(&default).accepts(status)
    }

    /// How often an instance is probed.
    pub fn interval(&self) -> Duration {
        self.interval.unwrap_or(DEFAULT_INTERVAL)
    }

    /// How long a probe may take; not longer than the interval.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT.min(self.interval()))
    }

    /// Probes no more often than every `interval`, and no longer than `timeout`.
    pub(super) fn limit(&mut self, interval: Option<Duration>, timeout: Option<Duration>) {
        let shortest = interval.filter(|shortest| self.interval() < *shortest);
        self.interval = shortest.or(self.interval);
        let longest = timeout.filter(|longest| self.timeout() > *longest);
        self.timeout = longest.or(self.timeout);
    }

    /// How many good probes in a row make an instance healthy.
    pub fn rise(&self) -> u32 {
        self.rise.unwrap_or(2)
    }

    /// How many bad probes in a row make it unhealthy.
    pub fn fall(&self) -> u32 {
        self.fall.unwrap_or(3)
    }
}

impl PolicyField for HealthCheck {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        read(value).map_err(|bad| bad.within(name))
    }

    fn value(&self) -> Value {
        let kind = (self.kind != CheckKind::Http).then(|| json!(word_of(&self.kind, KINDS)));
        let name = self.server_name.as_ref().map(PolicyField::value);
        let initial =
            (self.initial != InitialState::Pending).then(|| json!(word_of(&self.initial, INITIAL)));
        let status = self.status.as_ref().map(|status| match status {
            CheckStatus::Range(from, to) if from == to => json!(from.to_string()),
            CheckStatus::Range(from, to) => json!(format!("{from}-{to}")),
            CheckStatus::List(list) => json!(list),
        });
        let rows = [
            ("type", kind),
            ("tls", self.tls.then(|| json!(true))),
            ("server_name", name),
            ("path", self.path.as_ref().map(|path| json!(path))),
            ("host", self.host.as_ref().map(|host| json!(host.as_str()))),
            ("status", status),
            ("body", self.body.as_ref().map(|body| json!(body))),
            ("service", self.service.as_ref().map(|name| json!(name))),
            ("interval", self.interval.map(|d| json!(span(d)))),
            ("timeout", self.timeout.map(|d| json!(span(d)))),
            ("rise", self.rise.map(|n| json!(n))),
            ("fall", self.fall.map(|n| json!(n))),
            ("initial", initial),
        ];
        let set = rows
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)));
        Value::Object(set.collect())
    }

    /// It is for agents alone.
    fn add_to_record(&self, _: &str, _: &mut Map<String, Value>) {}
}

fn read(value: Value) -> Result<HealthCheck, Bad> {
    let mut fields = Fields::from_value("a health check", value)?;
    let number = |name: &str, value: Value| whole(name, &value, 1, 10);
    let check = HealthCheck {
        kind: match fields.take_string("type")? {
            None => CheckKind::Http,
            Some(text) => word("type", &text, KINDS)?,
        },
        tls: fields
            .take("tls")
            .map_or(Ok(false), |v| boolean("tls", v))?,
        server_name: fields
            .take("server_name")
            .map(|v| ServerName::read("server_name", v))
            .transpose()?,
        path: fields
            .take_string("path")?
            .map(|text| literal("path", &text, true))
            .transpose()?,
        host: fields
            .take_string("host")?
            .map(|text| HostPort::from_user("host", &text))
            .transpose()?,
        status: fields.take("status").map(statuses).transpose()?,
        body: fields.take_string("body")?.map(body).transpose()?,
        service: fields
            .take_string("service")?
            .map(|text| printable("service", &text, LONGEST_SERVICE))
            .transpose()?,
        interval: fields
            .take("interval")
            .map(|v| duration("interval", &v, INTERVAL.0, INTERVAL.1))
            .transpose()?,
        timeout: fields
            .take("timeout")
            .map(|v| duration("timeout", &v, TIMEOUT.0, TIMEOUT.1))
            .transpose()?,
        rise: fields.take("rise").map(|v| number("rise", v)).transpose()?,
        fall: fields.take("fall").map(|v| number("fall", v)).transpose()?,
        initial: match fields.take_string("initial")? {
            None => InitialState::Pending,
            Some(text) => word("initial", &text, INITIAL)?,
        },
    };
    fields.finish(FIELDS)?;
    if check.timeout() > check.interval() {
        let detail = format!(
            "\"timeout\" must not be longer than \"interval\", which is {}",
            span(check.interval())
        );
        return Err(bad_value("timeout", detail));
    }
    match check.misplaced() {
        None => Ok(check),
        Some((name, place)) => {
            let detail = format!("\"{name}\" is for {place} only");
            Err(bad_value(name, detail))
        }
    }
}

impl HealthCheck {
    /// The first field that means nothing here, and what it is for.
    fn misplaced(&self) -> Option<(&'static str, &'static str)> {
        let is = |kind| self.kind == kind;
        let http = "the type \"http\"";
        let fields = [
            ("path", self.path.is_some(), is(CheckKind::Http), http),
            (
                "host",
                self.host.is_some(),
                !is(CheckKind::Tcp),
                "the types \"http\" and \"grpc\"",
            ),
            ("status", self.status.is_some(), is(CheckKind::Http), http),
            ("body", self.body.is_some(), is(CheckKind::Http), http),
            (
                "service",
                self.service.is_some(),
                is(CheckKind::Grpc),
                "the type \"grpc\"",
            ),
            (
                "server_name",
                self.server_name.is_some(),
                self.tls,
                "\"tls\": true",
            ),
        ];
        let found = fields
            .into_iter()
            .find(|(_, there, fits, _)| *there && !fits);
        found.map(|(name, _, _, place)| (name, place))
    }
}

fn statuses(value: Value) -> Result<CheckStatus, Bad> {
    let bad = |what: &str| {
        let detail = format!(
            "\"status\" must be a range like \"200-299\" or a list like [200,204], of statuses \
             from 100 to 599, not {what}"
        );
        bad_value("status", detail)
    };
    match value {
        Value::String(text) => {
            let (from, to) = text.split_once('-').unwrap_or((&text, &text));
            match (status(from), status(to)) {
                (Some(from), Some(to)) if from <= to => Ok(CheckStatus::Range(from, to)),
                _ => Err(bad(&quoted(&text))),
            }
        }
        Value::Array(items) if (1..=MOST_STATUSES).contains(&items.len()) => {
            let list = items.iter().map(|item| {
                let status = item.as_u64().and_then(|n| u16::try_from(n).ok());
                status
                    .filter(|n| (100..=599).contains(n))
                    .ok_or_else(|| bad(&shown(item)))
            });
            list.collect::<Result<_, _>>().map(CheckStatus::List)
        }
        Value::Array(items) => Err(bad(&format!("a list of {}", items.len()))),
        other => Err(bad(kind(&other))),
    }
}

fn status(text: &str) -> Option<u16> {
    let plain = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    let status = text.parse().ok().filter(|_| plain)?;
    (100..=599).contains(&status).then_some(status)
}

fn body(text: String) -> Result<Box<str>, Bad> {
    if (1..=LONGEST_BODY).contains(&text.len()) {
        return Ok(text.into());
    }
    let detail = format!(
        "\"body\" must be 1 to {LONGEST_BODY} bytes that an answer must hold, not {}",
        text.len()
    );
    Err(bad_value("body", detail))
}
