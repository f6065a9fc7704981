//! A host that is asked for by name, perhaps with a port: no wildcard.

use super::values::bad_value;
use super::{Bad, Host, quoted};

/// `host` or `host:port`, in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(Box<str>);

impl HostPort {
    /// Takes what a user typed under `name`, and folds it.
    pub(super) fn from_user(name: &str, text: &str) -> Result<Self, Bad> {
        // With a port, an IPv6 literal needs its brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let bad = |why: &str| {
            let detail = format!(
                "\"{name}\" must be a host or host:port, not {}: {why}",
                quoted(text)
            );
            bad_value(name, detail)
        };
        let host = Host::from_user(host).map_err(|refused| bad(&refused.detail))?;
        if host.is_wildcard() {
            return Err(bad("a wildcard is not one host"));
        }
        let Some(port) = port else {
            return Ok(Self(host.as_str().into()));
        };
        let plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
        match port.parse::<u16>() {
            Ok(port) if plain => Ok(Self(format!("{host}:{port}").into())),
            _ => Err(bad("a port is a number from 1 to 65535")),
        }
    }

    /// The host alone, without brackets.
    pub fn host(&self) -> &str {
        let host = match self.0.rsplit_once(':') {
            Some((host, _)) if !self.0.ends_with(']') => host,
            _ => &self.0,
        };
        host.trim_matches(['[', ']'])
    }

    /// As it stands in a `Host` header.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
