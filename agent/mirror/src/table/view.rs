//! What the admin API shows of the table.

use std::collections::BTreeMap;
use std::ops::Bound;

use pointsman_model::{Address, Bad, FaultClass, Instance, Policy};
use pointsman_store::Revision;

use super::Table;
use super::apps::{App, Member};
use super::derivation::Derivation;
use super::owners::{AddressClaim, Owners};
use super::stored::Stored;
use super::stored_rules::StoredRules;

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
    /// In what way probes found it wrong, if they did.
    pub class: Option<FaultClass>,
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
    /// It waits for its first good probe.
    Pending {
        /// What was wrong with the first one, if that has ended.
        reason: Option<String>,
    },
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
    /// The instance that has it: `<app>/<id>`.
    pub owner: String,
    /// Whose instances lack it.
    pub displaced: Vec<String>,
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

impl RouteView {
    pub(super) fn of(host: &str, route: &Stored<StoredRules>) -> Self {
        let rules = route.value.as_ref();
        Self {
            host: host.to_owned(),
            rules: rules.map(|rules| rules.shown().into_owned()),
            mod_revision: route.mod_revision,
        }
    }
}

impl AppSummary {
    /// `idle` of its instances are not routed to.
    pub(super) fn of(name: &str, app: &App, idle: usize) -> Self {
        Self {
            app: name.to_owned(),
            mod_revision: app.policy.as_ref().map(|policy| policy.mod_revision),
            instances: app.instances.len(),
            live: app.instances.len() - idle,
        }
    }
}

impl AppView {
    pub(super) fn of(name: &str, app: &App, instances: Vec<InstanceView>) -> Self {
        let policy = app.policy.as_ref();
        Self {
            app: name.to_owned(),
            policy: policy.and_then(|policy| policy.value.as_deref().cloned()),
            mod_revision: policy.map(|policy| policy.mod_revision),
            instances,
        }
    }
}

impl InstanceView {
    pub(super) fn of(derivation: Derivation<'_>, member: Member<'_>) -> Self {
        Self {
            id: member.id.to_owned(),
            instance: member.stored.value.clone(),
            state: derivation.state(member),
            class: derivation.found(member).and_then(|found| found.class),
            mod_revision: member.stored.mod_revision,
        }
    }
}

/// The owners of `addresses`, and up to `limit` instances that lack them.
pub(super) fn shadowed(
    owners: &Owners,
    addresses: impl Iterator<Item = Address>,
    limit: usize,
) -> Vec<Shadowed> {
    let mut left = limit;
    let all = addresses.map_while(|addr| {
        let (owner, displaced) = owners.claims(addr).split_last()?;
        let displaced = &displaced[..displaced.len().min(left)];
        left -= displaced.len();
        (!displaced.is_empty()).then(|| Shadowed {
            addr,
            owner: owner.name(),
            displaced: displaced.iter().map(AddressClaim::name).collect(),
        })
    });
    all.collect()
}

/// What two maps hold, in the order of the keys.
pub(super) fn merged<'a>(
    one: &'a BTreeMap<Box<str>, Bad>,
    other: &'a BTreeMap<Box<str>, Bad>,
) -> impl Iterator<Item = (&'a str, &'a Bad)> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let merged = std::iter::from_fn(move || match (one.peek(), other.peek()) {
        (Some((a, _)), Some((b, _))) if b < a => other.next(),
        (None, _) => other.next(),
        _ => one.next(),
    });
    merged.map(|(key, bad)| (&**key, bad))
}

/// Names that begin with `prefix`, and more, behind `after`.
pub(super) fn from<'a>(
    prefix: &'a str,
    after: Option<&'a str>,
) -> (Bound<&'a str>, Bound<&'a str>) {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    (start, Bound::Unbounded)
}

/// What the admin API shows.
impl Table {
    /// Routes whose host begins with `prefix`, behind `after`, in byte order.
    pub fn routes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RouteView> {
        self.routes
            .range(from(prefix, after))
            .take_while(|(host, _)| host.starts_with(prefix))
            .take(limit)
            .map(|(host, route)| RouteView::of(host, route))
            .collect()
    }

    /// Apps whose name begins with `prefix`, behind `after`, in byte order.
    pub fn apps(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<AppSummary> {
        self.apps
            .range(from(prefix, after))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(limit)
            .map(|(name, app)| AppSummary::of(name, app, self.index.idle(name)))
            .collect()
    }

    /// One app, with all its instances; `None` if it has neither a policy nor
    /// an instance. Where it may have many, see [`Table::instances`].
    pub fn app_named(&self, name: &str) -> Option<AppView> {
        let app = self.apps.get(name)?;
        Some(AppView::of(
            name,
            app,
            self.instances(name, None, usize::MAX),
        ))
    }

    /// Whether an instance is routed to; `None` if it is not there.
    pub fn instance_state(&self, app: &str, id: &str) -> Option<InstanceState> {
        let member = self.apps.member(app, id)?;
        Some(self.derivation().state(member))
    }

    /// Instances of an app behind `after`, by id.
    pub fn instances(&self, app: &str, after: Option<&str>, limit: usize) -> Vec<InstanceView> {
        let members = self.apps.members_of(app, after).take(limit);
        members
            .map(|member| InstanceView::of(self.derivation(), member))
            .collect()
    }

    /// All keys with a bad name or value, or of an instance that the settings do
    /// not allow, in byte order.
    pub fn bad(&self) -> impl Iterator<Item = (&str, &Bad)> {
        merged(&self.bad, self.index.refused())
    }

    /// The first addresses that several instances claim, up to `limit`, and up
    /// to as many instances that lack theirs.
    pub fn shadowed(&self, limit: usize) -> Vec<Shadowed> {
        shadowed(
            self.apps.owners(),
            self.index.addresses().take(limit),
            limit,
        )
    }

    /// How many addresses several instances claim.
    pub fn contested_count(&self) -> usize {
        self.index.addresses().len()
    }

    /// How many instances lack their address because another one has it.
    pub fn shadowed_count(&self) -> usize {
        self.index.shadowed()
    }

    /// How much there is.
    pub fn counts(&self) -> Counts {
        let [apps, _, instances] = self.apps.counts();
        Counts {
            routes: self.routes.len(),
            apps,
            instances,
            bad: self.bad.len() + self.index.refused().len(),
        }
    }
}
