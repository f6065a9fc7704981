//! What lies beneath a wildcard: whether a look-up for a more specific route
//! can be spared.

use pointsman_model::Element;

use super::Table;
use super::touched::Touched;

impl Table {
    /// Counts a route key that came or went for each wildcard above it; one
    /// whose `deeper` turns over is touched.
    pub(super) fn count_beneath(&mut self, host: &str, came: bool, touched: &mut Touched) {
        for domain in domains_above(host) {
            let turned = if came {
                match self.beneath.get_mut(domain) {
                    Some(count) => {
                        *count += 1;
                        false
                    }
                    None => {
                        self.beneath.insert(domain.into(), 1);
                        true
                    }
                }
            } else {
                let count = self.beneath.get_mut(domain);
                let left = count.map_or(0, |count| {
                    *count = count.saturating_sub(1);
                    *count
                });
                if left == 0 {
                    self.beneath.remove(domain);
                }
                left == 0
            };
            if turned {
                let wildcard = wildcard_of(domain);
                if self.routes.contains_key(wildcard.as_str()) {
                    touched.insert(|| Element::Route(wildcard.into()));
                }
            }
        }
    }
}

/// The domain of a wildcard: `example.com` for `*.example.com`, the empty
/// string for `*`.
pub(super) fn domain(host: &str) -> Option<&str> {
    if host == "*" {
        return Some("");
    }
    host.strip_prefix("*.")
}

fn wildcard_of(domain: &str) -> String {
    if domain.is_empty() {
        "*".to_owned()
    } else {
        format!("*.{domain}")
    }
}

/// The domains of all wildcards that lie above this route key.
fn domains_above(host: &str) -> impl Iterator<Item = &str> {
    let is_ip = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let name = domain(host).unwrap_or(host);
    // An IP literal has no parent domain; `*` has nothing above it.
    let parents = if is_ip { "" } else { name };
    parents
        .match_indices('.')
        .map(move |(dot, _)| &parents[dot + 1..])
        .chain((host != "*").then_some(""))
}
