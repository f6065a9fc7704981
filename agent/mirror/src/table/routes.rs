//! The routes in the table, and what lies beneath a wildcard: whether a look-up
//! for a more specific route can be spared.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use pointsman_model::{Element, Route};
use pointsman_store::Revision;

use super::rules::Rules;
use super::touched::Touched;
use super::{Entry, Held};

/// All routes, by host.
#[derive(Debug, Default)]
pub(super) struct Routes {
    hosts: BTreeMap<Box<str>, Entry<Rules>>,
    /// For each domain: how many route keys lie beneath `*.<domain>`, that
    /// one itself not counted. The domain of `*` is the empty string.
    beneath: HashMap<Box<str>, u32>,
}

impl Routes {
    pub(super) fn put(&mut self, host: &str, entry: Entry<Rules>, touched: &mut Touched) {
        if self.hosts.insert(host.into(), entry).is_none() {
            self.count_beneath(host, true, touched);
        }
        touched.insert(|| Element::Route(host.into()));
    }

    pub(super) fn delete(&mut self, host: &str, touched: &mut Touched) {
        if self.hosts.remove(host).is_some() {
            touched.insert(|| Element::Route(host.into()));
            self.count_beneath(host, false, touched);
        }
    }

    pub(super) fn get(&self, host: &str) -> Option<&Entry<Rules>> {
        self.hosts.get(host)
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    pub(super) fn range(
        &self,
        range: (Bound<&str>, Bound<&str>),
    ) -> impl Iterator<Item = (&Box<str>, &Entry<Rules>)> {
        self.hosts.range::<str, _>(range)
    }

    pub(super) fn revision(&self, host: &str) -> Option<Revision> {
        self.get(host).map(|entry| entry.mod_revision)
    }

    /// What a route's element is.
    pub(super) fn held(&self, host: &str) -> Held {
        match self.get(host) {
            None => Held::Nothing,
            Some(entry) => self.record(host, entry),
        }
    }

    pub(super) fn record(&self, host: &str, entry: &Entry<Rules>) -> Held {
        let Some(rules) = &entry.value else {
            return Held::Frozen;
        };
        let deeper = domain(host).map(|domain| self.beneath.contains_key(domain));
        Held::Value(Route::record(&rules.record(), entry.mod_revision, deeper).into())
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
