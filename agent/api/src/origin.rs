//! Whether a request is meant for this API, and not made by a web page of
//! somebody else's that runs in a browser beside it.
//!
//! Such a page reaches the API by a name of its own that it points at the
//! agent's address (DNS rebinding), or asks it from elsewhere. The first one is
//! told by the `Host` header, the second one by `Origin`. There is no CORS: no
//! page of another origin gets an answer.

use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use pointsman_wire::Code;

use super::problem::Problem;

/// The names by which clients may ask for this API.
#[derive(Clone, Debug, Default)]
pub struct HostNames(Vec<String>);

impl HostNames {
    /// These names, and those that nobody can point elsewhere: addresses,
    /// `localhost`, and names without a dot.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().collect())
    }

    /// Refuses a request that is meant for somebody else.
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            let detail = "a request has one Host header";
            return Err(Problem::new(Code::BadHostHeader, detail));
        };
        let host = authority(host).ok_or_else(|| {
            let detail = "the Host header must be a host, with a port or without";
            Problem::new(Code::BadHostHeader, detail)
        })?;
        // The request line may name another one (RFC 9112, section 3.2.2).
        for asked in [Some(&host), uri.authority()].into_iter().flatten() {
            if !self.has(asked.host()) {
                let detail = format!(
                    "this API does not answer to the name {:?}; use the agent's address, or add \
                     the name to its setting admin.hosts",
                    asked.host()
                );
                return Err(Problem::new(Code::ForeignHost, detail));
            }
        }
        match headers.get(header::ORIGIN) {
            Some(origin) if !is_own(origin, &host) => {
                let detail = "pages of other origins may not use this API";
                Err(Problem::new(Code::ForeignOrigin, detail))
            }
            _ => Ok(()),
        }
    }

    fn has(&self, host: &str) -> bool {
        let name = host.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let literal = name.strip_prefix('[').and_then(|n| n.strip_suffix(']'));
        literal.is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok())
            || name.parse::<Ipv4Addr>().is_ok()
            || !name.contains('.')
            || name.ends_with(".localhost")
            || self.0.iter().any(|known| known == name)
    }
}

fn authority(value: &HeaderValue) -> Option<Authority> {
    let authority = value.to_str().ok()?.parse::<Authority>().ok()?;
    let text = authority.as_str();
    let port = authority.port();
    let is_whole = !text.contains('@')
        && !authority.host().is_empty()
        && text.len() == authority.host().len() + port.map_or(0, |port| port.as_str().len() + 1);
    is_whole.then_some(authority)
}

/// Whether a page of this origin has come from this API itself.
fn is_own(origin: &HeaderValue, host: &Authority) -> bool {
    let origin = origin.to_str().unwrap_or_default();
    let own = ["http://", "https://"].map(|scheme| origin.strip_prefix(scheme));
    let own = own.into_iter().flatten().next();
    own.is_some_and(|own| own.eq_ignore_ascii_case(host.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(uri: &str, headers: &[(&'static str, &str)]) -> Option<Code> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let names = HostNames::new(["agent.example.com".to_owned()]);
        let checked = names.check(&uri.parse().unwrap(), &map);
        checked.err().map(|problem| problem.code())
    }

    #[test]
    fn names_that_nobody_can_point_elsewhere_are_ours() {
        for host in [
            "127.0.0.1:8081",
            "10.0.0.1",
            "[::1]:8081",
            "localhost:8081",
            "agent",
            "a.localhost",
            "agent.example.com",
            "AGENT.example.com.:8081",
        ] {
            assert_eq!(code("/v1/status", &[("host", host)]), None, "{host}");
        }
    }

    #[test]
    fn other_names_are_refused_wherever_they_stand() {
        for host in [
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "agent.example.com.evil.example",
            "1.2.3",
        ] {
            let refused = code("/v1/status", &[("host", host)]);
            assert_eq!(refused, Some(Code::ForeignHost), "{host}");
            let uri = format!("http://{host}/v1/status");
            let refused = code(&uri, &[("host", "127.0.0.1")]);
            assert_eq!(refused, Some(Code::ForeignHost), "{host}");
        }
    }

    #[test]
    fn a_request_has_one_host() {
        let a = ("host", "127.0.0.1:8081");
        for headers in [
            &[][..],
            &[a, a],
            &[("host", "")],
            &[("host", "user@127.0.0.1")],
            &[("host", "127.0.0.1:x")],
            &[("host", "127.0.0.1:")],
            &[("host", "a/b")],
        ] {
            let refused = code("/", headers);
            assert_eq!(refused, Some(Code::BadHostHeader), "{headers:?}");
        }
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        let host = ("host", "127.0.0.1:8081");
        for own in ["http://127.0.0.1:8081", "https://127.0.0.1:8081"] {
            assert_eq!(code("/", &[host, ("origin", own)]), None);
        }
        for foreign in [
            "null",
            "",
            "http://127.0.0.1",
            "http://127.0.0.1:8082",
            "http://evil.example",
            "127.0.0.1:8081",
            "http://127.0.0.1:8081.evil.example",
        ] {
            let refused = code("/", &[host, ("origin", foreign)]);
            assert_eq!(refused, Some(Code::ForeignOrigin), "{foreign}");
        }
    }
}
