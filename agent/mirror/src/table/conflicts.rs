//! What a write would collide with, asked before it is made. Each question costs a
//! few look-ups, but for the one about settings, which goes page by page.

use std::collections::BTreeSet;

use pointsman_model::{Address, Element, Route, RuleAction, Settings};

use super::routes::wildcards_above;
use super::{InstanceState, Table};

/// A route of others that a write has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOwner {
    /// Its host.
    pub host: String,
    /// The apps that it sends requests to.
    pub apps: BTreeSet<String>,
}

/// How many instances settings would take out of service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutOfService {
    /// Instances that get requests now.
    pub live: usize,
    /// Those of them that would get none.
    pub lost: usize,
    /// The last instance that was looked at; `None` at the end.
    pub last: Option<(Box<str>, Box<str>)>,
}

impl Table {
    /// Whether there is a policy or an instance of an app.
    pub fn knows_app(&self, app: &str) -> bool {
        self.apps.get(app).is_some()
    }

    /// App and id of the instance that has an address and takes requests.
    pub fn serving_at(&self, addr: Address) -> Option<(Box<str>, Box<str>)> {
        match self.apps.owners().serving(addr)?.element() {
            Element::Instance(app, id) => Some((app, id)),
            _ => None,
        }
    }

    /// The route of a host, if there is a good one.
    pub fn route_owner(&self, host: &str) -> Option<RouteOwner> {
        let rules = self.routes.get(host)?.value.as_ref()?;
        let value = format!(r#"{{"rules":{}}}"#, rules.shown());
        let route = Route::from_value(value.as_bytes()).ok()?;
        Some(RouteOwner {
            host: host.to_owned(),
            apps: apps_of(&route),
        })
    }

    /// The most specific wildcard that takes a host's requests while the host
    /// has no route of its own.
    pub fn wildcard_above(&self, host: &str) -> Option<RouteOwner> {
        wildcards_above(host).find_map(|wildcard| self.route_owner(&wildcard))
    }

    /// Whether there are routes of more specific hosts beneath a wildcard.
    pub fn has_routes_beneath(&self, wildcard: &str) -> bool {
        self.routes.has_beneath(wildcard)
    }

    /// What settings would take out of service, of `limit` instances behind
    /// `after`.
    pub fn out_of_service(
        &self,
        settings: &Settings,
        after: Option<&(Box<str>, Box<str>)>,
        limit: usize,
    ) -> OutOfService {
        let after = after.map(|(app, id)| (&**app, &**id));
        let mut found = OutOfService::default();
        for (at, member) in self.apps.members(after).take(limit).enumerate() {
            if at + 1 == limit {
                found.last = Some((member.name.into(), member.id.into()));
            }
            if self.derivation().state(member) != InstanceState::Live {
                continue;
            }
            found.live += 1;
            let instance = member.stored.value.as_ref();
            found.lost += usize::from(instance.is_some_and(|i| !settings.allows(i.addr)));
        }
        found
    }
}

/// The apps that a route sends requests to.
pub fn apps_of(route: &Route) -> BTreeSet<String> {
    let targets = route.rules.iter().filter_map(|rule| match &rule.action {
        RuleAction::To(to) => Some(to.targets.iter()),
        _ => None,
    });
    let apps = targets.flatten().map(|target| target.app.as_str());
    apps.map(str::to_owned).collect()
}
