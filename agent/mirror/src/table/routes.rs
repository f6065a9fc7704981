//! The routes in the table with their pauses, and what lies beneath a wildcard:
//! whether a lookup of a more specific route can be spared.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use pointsman_model::{Element, Pause, Route};
use pointsman_store::Revision;

use super::stored::Stored;
use super::stored_rules::StoredRules;
use super::touched::Touched;
use super::{Held, Keys, behind};

/// All routes, by host.
#[derive(Debug, Default)]
pub(super) struct Routes {
    hosts: BTreeMap<Box<str>, Stored<StoredRules>>,
    /// For each domain: how many route keys lie beneath `*.<domain>`, that
    /// one itself not counted. The domain of `*` is the empty string.
    beneath: HashMap<Box<str>, u32>,
    /// By host, whether there is such a route or not.
    pauses: BTreeMap<Box<str>, Stored<Pause>>,
}

impl Routes {
    /// Takes a route in, or out.
    pub(super) fn set(
        &mut self,
        host: &str,
        route: Option<Stored<StoredRules>>,
        touched: &mut Touched,
    ) {
        let has = route.is_some();
        let old = match route {
            Some(route) => self.hosts.insert(host.into(), route),
            None => self.hosts.remove(host),
        };
        if has || old.is_some() {
            touched.insert(|| Element::Route(host.into()));
        }
        if has != old.is_some() {
            self.count_beneath(host, has, touched);
        }
    }

    /// Takes a pause in, or out.
    pub(super) fn set_pause(
        &mut self,
        host: &str,
        pause: Option<Stored<Pause>>,
        touched: &mut Touched,
    ) {
        match pause {
            Some(pause) => self.pauses.insert(host.into(), pause),
            None => self.pauses.remove(host),
        };
        if self.hosts.contains_key(host) {
            touched.insert(|| Element::Route(host.into()));
        }
    }

    pub(super) fn pause_count(&self) -> usize {
        self.pauses.len()
    }

    pub(super) fn pause_revision(&self, host: &str) -> Option<Revision> {
        self.pauses.get(host).map(|pause| pause.mod_revision)
    }

    pub(super) fn pause_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        let pauses = self.pauses.range::<str, _>(behind(after)).take(limit);
        pauses
            .map(|(host, pause)| (format!("pauses/{host}"), pause.mod_revision))
            .collect()
    }

    pub(super) fn get(&self, host: &str) -> Option<&Stored<StoredRules>> {
        self.hosts.get(host)
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn range(
        &self,
        range: (Bound<&str>, Bound<&str>),
    ) -> impl Iterator<Item = (&Box<str>, &Stored<StoredRules>)> {
        self.hosts.range::<str, _>(range)
    }

    pub(super) fn keys(&self, after: Option<&str>, limit: usize) -> Keys {
        let routes = self.range(behind(after)).take(limit);
        routes
            .map(|(host, route)| (format!("routes/{host}"), route.mod_revision))
            .collect()
    }

    pub(super) fn revision(&self, host: &str) -> Option<Revision> {
        self.get(host).map(|route| route.mod_revision)
    }

    /// What a route's element is.
    pub(super) fn held(&self, host: &str) -> Held {
        match self.get(host) {
            None => Held::Nothing,
            Some(route) => self.record(host, route),
        }
    }

    /// Whether other routes lie beneath a wildcard.
    pub(super) fn has_beneath(&self, wildcard: &str) -> bool {
        domain(wildcard).is_some_and(|domain| self.beneath.contains_key(domain))
    }

    pub(super) fn record(&self, host: &str, route: &Stored<StoredRules>) -> Held {
        let Some(rules) = &route.value else {
            return Held::Frozen;
        };
        let deeper = domain(host).map(|domain| self.beneath.contains_key(domain));
        let pause = self.pauses.get(host).and_then(|pause| pause.value);
        Held::Value(Route::record(&rules.record(), route.mod_revision, deeper, pause).into())
    }

    /// Counts a route key that came or went for each wildcard above it; one
    /// whose `deeper` turns over is touched.
    fn count_beneath(&mut self, host: &str, came: bool, touched: &mut Touched) {
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
                if self.hosts.contains_key(wildcard.as_str()) {
                    touched.insert(|| Element::Route(wildcard.into()));
                }
            }
        }
    }
}

/// The domain of a wildcard: `example.com` for `*.example.com`, the empty
/// string for `*`.
fn domain(host: &str) -> Option<&str> {
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

/// The wildcards above this route key, the most specific one first.
pub(super) fn wildcards_above(host: &str) -> impl Iterator<Item = String> {
    domains_above(host).map(wildcard_of)
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
