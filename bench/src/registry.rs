//! A registry of any size: hosts that are spread over apps, apps with instances.

use std::net::SocketAddr;

use crate::fill;

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Routes.
    pub routes: usize,
    /// Apps, over which the routes are spread.
    pub apps: usize,
    /// Instances of each app.
    pub each: usize,
}

impl Shape {
    /// Instances of all apps.
    pub fn instances(&self) -> usize {
        self.apps * self.each
    }

    /// All keys without the registry's prefix, with their values. Nobody listens
    /// at these addresses.
    pub fn entries(self) -> impl Iterator<Item = (String, String)> {
        let routes = (0..self.routes).map(move |at| fill::route(&host(at), &app(at % self.apps)));
        let instances = (0..self.instances()).map(move |at| {
            let name = app(at / self.each);
            fill::instance(&name, &format!("{name}-{at:06}"), nowhere(at))
        });
        routes.chain(instances)
    }

    /// Bytes of the routes' keys and values.
    pub fn route_bytes(self) -> usize {
        let routes = self.entries().take(self.routes);
        routes.map(|(key, value)| key.len() + value.len()).sum()
    }
}

/// A host of the registry.
pub fn host(number: usize) -> String {
    format!("h{number:07}.apps.example")
}

/// An app of the registry.
pub fn app(number: usize) -> String {
    format!("app-{number:05}")
}

/// The address of an instance that is not there: each has its own, on this
/// machine, at a port where nobody listens.
pub fn nowhere(number: usize) -> SocketAddr {
    let [_, a, b, c] = (number as u32).to_be_bytes();
    SocketAddr::from(([127, 100 + a, b, c], 9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_and_addresses_differ() {
        let shape = Shape {
            routes: 1000,
            apps: 100,
            each: 10,
        };
        let all: std::collections::BTreeMap<_, _> = shape.entries().collect();
        assert_eq!(all.len(), 2000);
        let addrs: std::collections::BTreeSet<_> = all
            .iter()
            .filter(|(key, _)| key.starts_with("instances/"))
            .map(|(_, addr)| addr)
            .collect();
        assert_eq!(addrs.len(), 1000);
    }
}
