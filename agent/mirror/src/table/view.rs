//! What the admin API shows of the table.

use std::ops::Bound;

use pointsman_model::{Address, Bad, Element, Instance, Kind, Policy};
use pointsman_store::Revision;

use super::{App, Entry, Table, behind};

/// A route as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteView {
    /// The host.
    pub host: String,
    /// The rules as a JSON array; `None` while the value in etcd is bad.
    pub rules: Option<String>,
    /// Revision of the last change.
    pub mod_revision: Revision,
}

/// An app as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppSummary {
    /// Its name.
    pub app: String,
    /// Revision of the policy's last change, if it has one of its own.
    pub mod_revision: Option<Revision>,
    /// How many instances it has.
    pub instances: usize,
    /// How many of them are routed to.
    pub live: usize,
}

/// An app with its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppView {
    /// Its name.
    pub app: String,
    /// Its policy; `None` if it has none of its own (or a bad one).
    pub policy: Option<Policy>,
    /// Revision of the policy's last change.
    pub mod_revision: Option<Revision>,
    /// All its instances.
    pub instances: Vec<InstanceView>,
}

/// An instance as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceView {
    /// Its id.
    pub id: String,
    /// What is registered; `None` while the value in etcd is bad.
    pub instance: Option<Instance>,
    /// Whether it is routed to.
    pub state: InstanceState,
    /// Revision of the last change.
    pub mod_revision: Revision,
}

/// Whether an instance is routed to, and if not, why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It is.
    Live,
    /// Its address belongs to a younger instance.
    Shadowed {
        /// That one's app.
        app: String,
        /// That one's id.
        id: String,
    },
    /// The settings do not allow its address.
    NotAllowed,
    /// An operator takes it out of use.
    Draining,
    /// Probes found that it does not answer as it should.
    Unhealthy {
        /// What they found.
        reason: Option<String>,
    },
    /// Its value is bad; the edge keeps what it had before.
    Bad,
}

/// An address that several instances claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shadowed {
    /// The address.
    pub addr: Address,
    /// Who has it: `<app>/<id>`.
    pub owner: String,
    /// Who has not.
    pub losers: Vec<String>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Routes, bad ones included.
    pub routes: usize,
    /// Apps with a policy or an instance.
    pub apps: usize,
    /// Instances, bad and shadowed ones included.
    pub instances: usize,
    /// Keys with a bad name or value.
    pub bad: usize,
}

impl Table {
    /// Routes whose host begins with `prefix`, behind `after`, in byte order.
    pub fn routes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RouteView> {
        let range = (start(prefix, after), Bound::Unbounded);
        self.routes
            .range(range)
            .take_while(|(host, _)| host.starts_with(prefix))
            .take(limit)
            .map(|(host, entry)| RouteView {
                host: host.to_string(),
                rules: entry.value.as_ref().map(|rules| rules.shown().into_owned()),
                mod_revision: entry.mod_revision,
            })
            .collect()
    }

    /// Apps whose name begins with `prefix`, behind `after`, in byte order.
    pub fn apps(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<AppSummary> {
        let range = (start(prefix, after), Bound::Unbounded);
        self.apps
            .range::<str, _>(range)
            .take_while(|(app, _)| app.starts_with(prefix))
            .take(limit)
            .map(|(name, app)| AppSummary {
                app: name.to_string(),
                mod_revision: app.policy.as_ref().map(|entry| entry.mod_revision),
                instances: app.instances.len(),
                live: app
                    .instances
                    .iter()
                    .filter(|(id, entry)| {
                        self.instance_state(name, id, entry) == InstanceState::Live
                    })
                    .count(),
            })
            .collect()
    }

    /// One app; `None` if it has neither a policy nor an instance.
    pub fn app_named(&self, name: &str) -> Option<AppView> {
        self.apps.get(name).map(|app| self.app_view(name, app))
    }

    /// All keys with a bad name or value, in byte order.
    pub fn bad(&self) -> impl Iterator<Item = (&str, &Bad)> {
        self.bad.iter().map(|(key, bad)| (&**key, bad))
    }

    /// All addresses that several instances claim.
    pub fn shadowed(&self) -> Vec<Shadowed> {
        let name = |element: Element| match element {
            Element::Instance(app, id) => format!("{app}/{id}"),
            other => other.to_string(),
        };
        let mut all: Vec<_> = self
            .owners
            .contested()
            .map(|(addr, owner, losers)| Shadowed {
                addr,
                owner: name(owner.element()),
                losers: losers.iter().map(|l| name(l.element())).collect(),
            })
            .collect();
        all.sort_by_key(|s| s.addr);
        all
    }

    /// How many instances lack their address because another one has it.
    pub fn shadowed_count(&self) -> usize {
        self.owners
            .contested()
            .map(|(_, _, losers)| losers.len())
            .sum()
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        Counts {
            routes: self.routes.len(),
            apps: self.apps.len(),
            instances: self.apps.values().map(|app| app.instances.len()).sum(),
            bad: self.bad.len(),
        }
    }

    /// How many keys of a kind there are, as far as the table counts them.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Route => self.routes.len(),
            Kind::App => self.apps.values().filter(|a| a.policy.is_some()).count(),
            Kind::Instance => self.apps.values().map(|app| app.instances.len()).sum(),
            Kind::Override => self.overrides.len(),
            Kind::Health => self.health.len(),
            Kind::Settings => usize::from(self.shaping.entry().is_some()),
            Kind::Agent => self.agents.len(),
            Kind::Edge => self.edges.len(),
            Kind::Epoch | Kind::Rebuild | Kind::Confirm | Kind::Adopt => 0,
        }
    }

    /// Keys of routes behind that of `after`, in byte order, with their mod
    /// revisions.
    pub fn route_keys(&self, after: Option<&str>, limit: usize) -> Vec<(String, Revision)> {
        let routes = self.routes.range(behind(after)).take(limit);
        routes
            .map(|(host, entry)| (format!("routes/{host}"), entry.mod_revision))
            .collect()
    }

    /// Keys of policies behind that of `after`, in byte order, with their mod
    /// revisions.
    pub fn policy_keys(&self, after: Option<&str>, limit: usize) -> Vec<(String, Revision)> {
        let apps = self.apps.range::<str, _>(behind(after));
        let policies = apps.filter_map(|(app, held)| Some((app, held.policy.as_ref()?)));
        policies
            .take(limit)
            .map(|(app, policy)| (format!("apps/{app}"), policy.mod_revision))
            .collect()
    }

    /// Apps with instances, in the byte order of the instances' *keys* ("a-b"
    /// stands before "a", since "a-b/1" stands before "a/1").
    pub fn apps_by_key(&self) -> Vec<String> {
        let apps = self
            .apps
            .iter()
            .filter(|(_, app)| !app.instances.is_empty());
        let mut names: Vec<_> = apps.map(|(name, _)| format!("{name}/")).collect();
        names.sort_unstable();
        for name in &mut names {
            name.pop();
        }
        names
    }

    /// Keys of an app's instances, in byte order, with their mod revisions.
    pub fn instance_keys(&self, app: &str) -> Vec<(String, Revision)> {
        let instances = self
            .apps
            .get(app)
            .into_iter()
            .flat_map(|app| &app.instances);
        instances
            .map(|(id, entry)| (format!("instances/{app}/{id}"), entry.mod_revision))
            .collect()
    }

    fn app_view(&self, name: &str, app: &App) -> AppView {
        AppView {
            app: name.to_owned(),
            policy: app
                .policy
                .as_ref()
                .and_then(|entry| entry.value.as_deref().cloned()),
            mod_revision: app.policy.as_ref().map(|entry| entry.mod_revision),
            instances: app
                .instances
                .iter()
                .map(|(id, entry)| InstanceView {
                    id: id.to_string(),
                    instance: entry.value.clone(),
                    state: self.instance_state(name, id, entry),
                    mod_revision: entry.mod_revision,
                })
                .collect(),
        }
    }

    /// Whether an instance is routed to; `None` if it is not there.
    pub fn instance_state_of(&self, app: &str, id: &str) -> Option<InstanceState> {
        let entry = self.apps.get(app)?.instances.get(id)?;
        Some(self.instance_state(app, id, entry))
    }

    fn instance_state(&self, app: &str, id: &str, entry: &Entry<Instance>) -> InstanceState {
        match &entry.value {
            None => InstanceState::Bad,
            Some(instance) if self.refusal(instance).is_some() => InstanceState::NotAllowed,
            Some(instance) if self.is_shadowed(app, id, entry.create_revision, instance) => {
                match self.owners.owner(instance.addr) {
                    Some(Element::Instance(app, id)) => InstanceState::Shadowed {
                        app: app.into(),
                        id: id.into(),
                    },
                    _ => InstanceState::Live,
                }
            }
            Some(_) if self.is_draining(app, id, entry.create_revision) => InstanceState::Draining,
            Some(_) => match self.found_down(app, id, entry.create_revision) {
                Some(found) if self.has_check(app) != Some(false) => InstanceState::Unhealthy {
                    reason: found.reason.as_deref().map(str::to_owned),
                },
                _ => InstanceState::Live,
            },
        }
    }
}

fn start<'a>(prefix: &'a str, after: Option<&'a str>) -> Bound<&'a str> {
    match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    }
}
