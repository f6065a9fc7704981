//! Hosts that a route can be bound to.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Bad, BadCode, quoted};

const LONGEST: usize = 253;
/// Edges look at so many parents of a host, the shortest ones (see
/// `lua/pointsman/routing/match.lua`).
const DEEPEST_WILDCARD: usize = 10;

/// A host in canonical form: a lower-case host name (A-labels), an IP literal
/// (IPv6 in brackets, as nginx's `$host` has it), `*.<host name>`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Box<str>);

impl Host {
    /// Takes a host as a user types it: upper case and Unicode are folded to
    /// the canonical form; everything else that is not canonical is refused.
    pub fn from_user(text: &str) -> Result<Self, Bad> {
        if text.is_ascii() && !text.to_ascii_lowercase().contains("xn--") {
            let folded = text.to_ascii_lowercase();
            let inner = match folded.strip_prefix('[') {
                Some(rest) => rest.strip_suffix(']'),
                None => Some(&*folded),
            };
            if let Some(Ok(ip)) = inner.map(str::parse::<Ipv6Addr>) {
                return Ok(Self(format!("[{ip}]").into()));
            }
            return Self::check(&folded, text);
        }
        let (wild, name) = match text.strip_prefix("*.") {
            Some(rest) => ("*.", rest),
            None => ("", text),
        };
        let ascii = idna::domain_to_ascii(name).map_err(|_| {
            bad(
                text,
                "it is not a valid internationalised name (IDNA, UTS 46)",
            )
        })?;
        Self::check(&format!("{wild}{ascii}"), text)
    }

    /// Takes a host that must be canonical already, as in an etcd key.
    pub fn from_key(text: &str) -> Result<Self, Bad> {
        if text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad(text, "a key must be lower-case"));
        }
        if !text.is_ascii() {
            return Err(bad(text, "a key must hold the A-label (xn--…) of the name"));
        }
        Self::check(text, text)
    }

    /// The host as it stands in keys.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is `*` or `*.…`.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether this is a host name: no IP literal, and no wildcard.
    pub fn is_name(&self) -> bool {
        !self.is_wildcard() && !self.0.starts_with('[') && self.0.parse::<Ipv4Addr>().is_err()
    }

    /// `host` is lower-case ASCII; `shown` is what the user wrote.
    fn check(host: &str, shown: &str) -> Result<Self, Bad> {
        if host == "*" {
            return Ok(Self(host.into()));
        }
        if let Some(inner) = host.strip_prefix('[') {
            return match inner.strip_suffix(']').map(str::parse::<Ipv6Addr>) {
                Some(Ok(ip)) if format!("[{ip}]") == host => Ok(Self(host.into())),
                Some(Ok(_)) => Err(bad(shown, "an IPv6 literal must be in canonical form")),
                _ if inner.contains("]:") => Err(bad(shown, "a host has no port")),
                _ => Err(bad(shown, "this is not an IPv6 literal in brackets")),
            };
        }
        if host.parse::<Ipv4Addr>().is_ok() {
            return Ok(Self(host.into()));
        }
        if host.is_empty() {
            return Err(bad(shown, "it is empty"));
        }
        let name = host.strip_prefix("*.").unwrap_or(host);
        check_name(name).map_err(|why| bad(shown, why))?;
        if name.len() < host.len() && name.split('.').count() > DEEPEST_WILDCARD {
            return Err(bad(shown, "a wildcard has at most 10 labels behind *."));
        }
        if host.len() > LONGEST {
            return Err(bad(shown, "a host has at most 253 characters"));
        }
        Ok(Self(host.into()))
    }
}

impl AsRef<str> for Host {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn bad(shown: &str, why: &str) -> Bad {
    let detail = format!("{} is not a host that can be bound: {why}", quoted(shown));
    Bad::new(BadCode::BadHost, detail)
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let but_trailing_dot = name.strip_suffix('.').unwrap_or(name);
    if but_trailing_dot.split('.').any(str::is_empty) {
        return Err(
            "it has an empty label (a dot in front, or two in a row, or nothing behind *.)",
        );
    }
    if name.contains("://") || name.contains('/') {
        return Err("give the host alone, without a scheme or a path");
    }
    if name.contains(':') {
        return Err("a host has no port");
    }
    if name.contains('*') {
        return Err("a wildcard is only possible as the whole first label: *.example.com");
    }
    if name.contains('_') {
        return Err("an underscore cannot stand in a host name");
    }
    if name.ends_with('.') {
        return Err("leave out the trailing dot");
    }
    if name.len() > LONGEST {
        return Err("a host has at most 253 characters");
    }
    for label in name.split('.') {
        if label.len() > 63 {
            return Err("a label has at most 63 characters");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label must not begin or end with a hyphen");
        }
        if !label
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err("only letters, digits, hyphens and dots can stand in a host name");
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) {
        return Err("it ends like an IP address, but is none");
    }
    Ok(())
}
