//! Types of the settings' values, and how each is read from text.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use axum::http::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pointsman_model::Host;

/// All that RFC 3986 does not leave unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Something that must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the client library, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(redacted)")
    }
}

/// A Redis URL; shown without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// Reads `redis://`, `rediss://`, and URLs of Sentinels, with TLS or not.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The text may hold a password: no message repeats it.
        let accepted = "accepted: redis://[[user]:password@]host[:port][/db], rediss:// for TLS, \
                        or redis+sentinel://[[user]:password@]host:port,…/master[/db], \
                        rediss+sentinel:// for TLS";
        let plain = text.strip_prefix("redis+sentinel://");
        if let Some(rest) = plain.or_else(|| text.strip_prefix("rediss+sentinel://")) {
            check_sentinels(rest).map_err(|e| format!("{e} ({accepted})"))?;
            return Self(text.to_owned())
                .readable()
                .map_err(|e| format!("{e} ({accepted})"));
        }
        let uri: Uri = text
            .parse()
            .map_err(|_| format!("not a URL ({accepted}; encode special characters as %XX)"))?;
        if !matches!(uri.scheme_str(), Some("redis" | "rediss")) {
            return Err(format!("not a Redis URL ({accepted})"));
        }
        if uri.host().unwrap_or_default().is_empty() {
            return Err(format!("the URL names no host ({accepted})"));
        }
        check_port(&uri).map_err(|e| format!("{e} ({accepted})"))?;
        let db = uri.path().trim_start_matches('/');
        if !db.is_empty() && db.parse::<u32>().is_err() {
            return Err(format!("the database must be a number ({accepted})"));
        }
        // `#insecure` would turn off the check of the certificate.
        if uri.query().is_some() || text.contains('#') {
            return Err(format!(
                "a query (?…) or fragment (#…) has no meaning here ({accepted})"
            ));
        }
        Self(text.to_owned())
            .readable()
            .map_err(|e| format!("{e} ({accepted})"))
    }

    /// Itself, if its login can be decoded.
    fn readable(self) -> Result<Self, String> {
        let login = self.userinfo().unwrap_or_default();
        match percent_decode_str(login).decode_utf8() {
            Ok(_) => Ok(self),
            Err(_) => Err("user and password must be UTF-8 once they are decoded".to_owned()),
        }
    }

    /// The URL with its password: for the client library, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the connection is to be encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("rediss:") || self.0.starts_with("rediss+")
    }

    /// Whether Sentinels say where Redis is.
    pub fn is_sentinels(&self) -> bool {
        self.0
            .split("://")
            .next()
            .is_some_and(|scheme| scheme.ends_with("+sentinel"))
    }

    /// Whether the URL carries a password.
    pub fn has_password(&self) -> bool {
        self.userinfo().is_some_and(|u| u.contains(':'))
    }

    fn userinfo(&self) -> Option<&str> {
        let rest = self.0.split_once("://")?.1;
        let authority = rest.split('/').next()?;
        Some(authority.rsplit_once('@')?.0)
    }

    /// The same URL with this password in place.
    pub(super) fn with_password(&self, password: &Secret) -> Self {
        let (scheme, rest) = self.0.split_once("://").unwrap_or(("redis", &self.0));
        let (user, host) = match self.userinfo() {
            Some(user) => (user, &rest[user.len() + 1..]),
            None => ("", rest),
        };
        let password = utf8_percent_encode(password.expose(), RESERVED);
        Self(format!("{scheme}://{user}:{password}@{host}"))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.userinfo() {
            None => f.write_str(&self.0),
            Some(info) => {
                // Behind an @ may be a password that was meant to follow a colon.
                let user = info.split([':', '@']).next().unwrap_or_default();
                let (scheme, rest) = self.0.split_once("://").unwrap_or(("redis", ""));
                let host = &rest[info.len() + 1..];
                write!(f, "{scheme}://{user}:(redacted)@{host}")
            }
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Checks what follows `redis+sentinel://`.
fn check_sentinels(rest: &str) -> Result<(), String> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    for host in hosts.split(',') {
        let uri: Uri = format!("redis://{login}@{host}")
            .parse()
            .map_err(|_| "the login or a Sentinel's host:port cannot be read".to_owned())?;
        if uri.host().unwrap_or_default().is_empty() || uri.port().is_none() {
            return Err("a Sentinel lacks its host or its port".to_owned());
        }
        check_port(&uri)?;
    }
    let (name, db) = path.split_once('/').unwrap_or((path, "0"));
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || !name.bytes().all(plain) {
        return Err("the master's name, as Sentinel knows it, must follow the hosts".to_owned());
    }
    if db.parse::<u32>().is_err() {
        return Err("the database must be a number".to_owned());
    }
    Ok(())
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn check_port(uri: &Uri) -> Result<(), String> {
    // `Uri` lets through a port that does not fit: only the text tells.
    let host = uri.host().unwrap_or_default();
    let authority = uri.authority().map_or("", |a| a.as_str());
    let behind = authority.rsplit_once('@').map_or(authority, |(_, h)| h);
    match behind.strip_prefix(host).unwrap_or_default() {
        "" => Ok(()),
        port => match port.trim_start_matches(':').parse::<u16>() {
            Ok(1..) => Ok(()),
            _ => Err("the port must be a number from 1 to 65535".to_owned()),
        },
    }
}

/// No message repeats an endpoint: a text that is no URL may hold a password
/// anywhere. The number says which one is meant.
pub(super) fn hosts(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim).map(Host::from_user);
    let names: Result<Vec<_>, _> = names.collect();
    let names = names.map_err(|bad| bad.detail)?;
    match names.iter().find(|name| !name.is_name()) {
        Some(other) => Err(format!("{other} is not a name, like agent.example.com")),
        None => Ok(names.iter().map(ToString::to_string).collect()),
    }
}

pub(super) fn endpoints(text: &str) -> Result<Vec<String>, String> {
    const ACCEPTED: &str =
        "accepted: http://host:port or https://host:port; several are separated by commas";
    let all: Vec<_> = text.split(',').map(str::trim).collect();
    let mut endpoints = Vec::new();
    for (n, one) in (1..).zip(&all) {
        let place = match all.len() {
            1 => "the endpoint".to_owned(),
            count => format!("endpoint {n} of {count}"),
        };
        let uri: Uri = one
            .parse()
            .map_err(|_| format!("{place} is not a URL ({ACCEPTED})"))?;
        if uri.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err(format!(
                "{place} holds a user; that is etcd.user and etcd.password ({ACCEPTED})"
            ));
        }
        let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
        if !matches!(uri.scheme_str(), Some("http" | "https")) || !plain {
            return Err(format!("{place} is not an etcd endpoint ({ACCEPTED})"));
        }
        check_port(&uri).map_err(|e| format!("{place}: {e} ({ACCEPTED})"))?;
        if uri.host().unwrap_or_default().is_empty() || uri.port().is_none() {
            return Err(format!("{place} lacks a host or a port ({ACCEPTED})"));
        }
        endpoints.push(one.trim_end_matches('/').to_owned());
    }
    let tls = |e: &String| e.starts_with("https:");
    if endpoints.iter().any(tls) && !endpoints.iter().all(tls) {
        return Err(format!(
            "http:// and https:// endpoints are mixed ({ACCEPTED})"
        ));
    }
    Ok(endpoints)
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(3600);
    match humantime::parse_duration(text) {
        Ok(d) if !d.is_zero() && d <= LONGEST => Ok(d),
        _ => Err(format!(
            "{text:?} is not accepted: a duration with its unit, like 500ms, 10s or 1m, up to 1h"
        )),
    }
}

pub(super) fn size(text: &str) -> Result<usize, String> {
    const LARGEST: usize = 64 << 20;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        "k" | "kib" => Some(1 << 10),
        "m" | "mib" => Some(1 << 20),
        _ => None,
    };
    let bytes = digits.parse().ok().zip(factor);
    match bytes.and_then(|(n, f): (usize, usize)| n.checked_mul(f)) {
        Some(n @ 1..=LARGEST) => Ok(n),
        _ => Err(format!(
            "{text:?} is not accepted: a number of bytes, or one with KiB or MiB, up to 64MiB"
        )),
    }
}

pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not accepted: IPv4:port or [IPv6]:port, like 127.0.0.1:8081 \
             (port 0: any free one)"
        )
    })
}

pub(super) fn stream_length(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 100..=10_000_000) => Ok(n),
        _ => Err(format!(
            "{text:?} is not accepted: a whole number from 100 to 10000000"
        )),
    }
}

pub(super) fn etcd_prefix(text: &str) -> Result<String, String> {
    let ok = text.len() <= 256
        && text.starts_with('/')
        && text.ends_with('/')
        && !text.contains("//")
        && text.bytes().all(|b| b.is_ascii_graphic());
    if ok && text.len() > 1 {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not accepted: visible ASCII that begins and ends with one slash, like /pointsman/"
    ))
}

pub(super) fn redis_prefix(text: &str) -> Result<String, String> {
    // An edge's setting of the same name has the same bounds.
    if (1..=256).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not accepted: 1 to 256 visible ASCII characters, like pointsman:"
    ))
}

pub(super) fn agent_id(text: &str) -> Result<String, String> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if (1..=128).contains(&text.len()) && text.bytes().all(ok) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not accepted: 1 to 128 of the characters a-z A-Z 0-9 . _ -"
    ))
}

pub(super) fn user(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a user's name must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("{text:?} is not accepted: text or json")),
    }
}

pub(super) fn log_level(text: &str) -> Result<String, String> {
    // A bare word that is no level would be taken for a module's name.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let bare_ok = text
        .split(',')
        .all(|d| d.contains('=') || levels.contains(&d.trim().to_ascii_lowercase().as_str()));
    // The library panics at some of what is not ASCII: " Σ=".
    if bare_ok && text.is_ascii() && tracing_subscriber::EnvFilter::try_new(text).is_ok() {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{text:?} is not accepted: error, warn, info, debug or trace, \
         or directives like info,pointsman_publish=debug"
    ))
}
