//! The table: etcd's content, and what it derives to in Redis.
//!
//! Everything here is a pure function of the keys that were loaded and the
//! events that were applied, so two agents with the same revision agree,
//! however they came to it. The one exception: a bad value *freezes* its
//! element, which is then neither written nor deleted until the key is valid
//! again or gone.
//!
//! Each kind of key has a type that owns what is held of it; this file is the
//! only one that knows them all. Others read the table while it is locked, so
//! no question to it looks through more than what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use pointsman_model::{
    Bad, Change, Element, Health, InitialState, Instance, Key, Kind, Override, Pause, Policy,
    Settings,
};
use pointsman_store::{Event, KeyValue, Revision};

mod annotations;
mod apps;
mod derivation;
mod frozen;
mod index;
mod owners;
mod probed;
mod recent;
mod routes;
mod settings;
mod settings_change;
pub(crate) mod steps;
mod stored;
mod stored_rules;
mod touched;
mod view;

use annotations::Annotations;
use apps::Apps;
use derivation::Derivation;
use frozen::Frozen;
use index::TableIndex;
pub use probed::{OrphansPage, Probed, ProbedPage, Standing};
use recent::{Recent, TouchedBy};
use routes::Routes;
use settings::Shaping;
use settings_change::SettingsChange;
use stored::Stored;
use stored_rules::StoredRules;
use touched::Touched;
pub use view::{AppSummary, AppView, Counts, InstanceState, InstanceView, RouteView, Shadowed};

/// Keys with their mod revisions.
pub type Keys = Vec<(String, Revision)>;

/// etcd's content at one revision.
#[derive(Debug, Default)]
pub struct Table {
    revision: Revision,
    routes: Routes,
    apps: Apps,
    annotations: Annotations,
    shaping: Shaping,
    /// What the registry calls itself.
    epoch: Option<Box<str>>,
    /// The agents that are there, with their create revisions.
    agents: BTreeMap<Box<str>, Revision>,
    /// The names of edges that were heard from, with their mod revisions.
    edges: BTreeMap<Box<str>, Revision>,
    /// The mod revision of the key `pending`.
    pending_key: Option<Revision>,
    /// Keys with a bad name or value.
    bad: BTreeMap<Box<str>, Bad>,
    frozen: Frozen,
    index: TableIndex,
    recent: Recent,
}

/// What the table says about an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It has this value.
    Value(Box<str>),
    /// It does not exist.
    Nothing,
    /// Its key holds a bad value: leave the element as it is.
    Frozen,
}

/// Kinds of keys: how each is taken in, counted and found. A kind with state is
/// a field of the table, and an arm in each of these.
impl Table {
    /// Takes a key in as it is now; `None`: it is gone.
    fn set(&mut self, name: &str, kv: Option<&KeyValue>, touched: &mut Touched) {
        let key = match Key::parse(name) {
            Ok(key) => key,
            Err(bad) => return self.set_bad(name, kv.map(|_| bad)),
        };
        let before = match &key {
            Key::Route(host) => {
                let (route, bad) = Stored::read(kv, StoredRules::from_value);
                let before = self.before(name, &key, bad);
                self.routes.set(host.as_str(), route, touched);
                before
            }
            Key::App(app) => {
                let (policy, bad) = Stored::read(kv, |raw| Policy::from_value(raw).map(Box::new));
                let before = self.before(name, &key, bad);
                let app = app.as_str();
                let initial = self.initial(app);
                self.apps.set_policy(app, policy, touched);
                // A policy also says whether what probes found counts, and since
                // when new instances are pending: without it, perhaps for longer.
                let after = self.initial(app);
                if kv.is_none() && after == Some(Some(InitialState::Pending)) {
                    let members = self.apps.members_of(app, None);
                    touched.extend(members.map(|member| member.element()));
                } else if after != initial {
                    touched.extend(self.probed_out(app));
                } else {
                    touched.extend(self.idle(app));
                }
                before
            }
            Key::Pause(host) => {
                let (pause, bad) = Stored::read(kv, Pause::from_value);
                let before = self.before(name, &key, bad);
                self.routes.set_pause(host.as_str(), pause, touched);
                before
            }
            Key::Instance(app, id) => {
                let (instance, bad) = Stored::read(kv, Instance::from_value);
                let before = self.before(name, &key, bad);
                let (app, id) = (app.as_str(), id.as_str());
                let addresses = self.apps.set_instance(app, id, instance, touched);
                for addr in addresses.into_iter().flatten() {
                    self.index.note_address(&self.apps, &self.shaping, addr);
                }
                before
            }
            Key::Override(app, id) => {
                let (value, bad) = Stored::read(kv, Override::from_value);
                let before = self.before(name, &key, bad);
                let overrides = &mut self.annotations.overrides;
                overrides.set(app.as_str(), id.as_str(), value, touched);
                before
            }
            Key::Health(app, id) => {
                let (value, bad) = Stored::read(kv, Health::from_value);
                let before = self.before(name, &key, bad);
                let health = &mut self.annotations.health;
                health.set(app.as_str(), id.as_str(), value, touched);
                before
            }
            Key::Settings => {
                let (settings, bad) = Stored::read(kv, Settings::from_value);
                self.shaping = Shaping(settings);
                return self.set_bad(name, bad);
            }
            Key::Epoch => {
                self.epoch = kv.map(|kv| String::from_utf8_lossy(&kv.value).into());
                return;
            }
            Key::Edge(name) => {
                let name = name.as_str();
                match kv {
                    Some(kv) => self.edges.insert(name.into(), kv.mod_revision),
                    None => self.edges.remove(name),
                };
                return;
            }
            Key::Agent(id) => {
                match kv {
                    Some(kv) => self.agents.insert(id.clone(), kv.create_revision),
                    None => self.agents.remove(id),
                };
                return;
            }
            Key::Pending => {
                self.pending_key = kv.map(|kv| kv.mod_revision);
                self.apps.pending_since = kv.map(|kv| kv.create_revision);
                touched.extend(self.index.all_idle());
                return;
            }
            Key::Actor | Key::Rebuild | Key::Confirm | Key::Adopt | Key::Set(_) => return,
        };
        self.keep(before);
    }

    /// How many keys of a kind there are, as far as the table counts them.
    pub fn count(&self, kind: Kind) -> usize {
        let [_, policies, instances] = self.apps.counts();
        match kind {
            Kind::Route => self.routes.len(),
            Kind::Pause => self.routes.pause_count(),
            Kind::App => policies,
            Kind::Instance => instances,
            Kind::Override => self.annotations.overrides.len(),
            Kind::Health => self.annotations.health.len(),
            Kind::Settings => usize::from(self.shaping.revision().is_some()),
            Kind::Agent => self.agents.len(),
            Kind::Edge => self.edges.len(),
            Kind::Pending => usize::from(self.pending_key.is_some()),
            Kind::Actor | Kind::Epoch | Kind::Rebuild | Kind::Confirm | Kind::Adopt | Kind::Set => {
                0
            }
        }
    }

    /// The mod revision of a key, if it is there; canonical keys only.
    pub fn key_revision(&self, key: &str) -> Option<Revision> {
        match Key::parse(key).ok()? {
            Key::Route(host) => self.routes.revision(host.as_str()),
            Key::Pause(host) => self.routes.pause_revision(host.as_str()),
            Key::App(app) => {
                let policy = self.apps.policy(app.as_str());
                policy.map(|policy| policy.mod_revision)
            }
            Key::Instance(app, id) => self.apps.instance_revision(app.as_str(), id.as_str()),
            Key::Override(app, id) => {
                let overrides = &self.annotations.overrides;
                overrides.revision(app.as_str(), id.as_str())
            }
            Key::Health(app, id) => self.annotations.health.revision(app.as_str(), id.as_str()),
            Key::Settings => self.shaping.revision(),
            Key::Edge(name) => self.edges.get(name.as_str()).copied(),
            Key::Pending => self.pending_key,
            Key::Actor
            | Key::Epoch
            | Key::Rebuild
            | Key::Confirm
            | Key::Adopt
            | Key::Agent(_)
            | Key::Set(_) => None,
        }
    }
}

/// Changes.
impl Table {
    /// An empty table, to be filled by [`Table::load`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a key of a listing.
    pub fn load(&mut self, kv: &KeyValue) {
        self.set(&kv.key, Some(kv), &mut Touched::Unrecorded);
    }

    /// Ends the loading: the table is now at `revision`. Looks at all instances.
    pub fn loaded(&mut self, revision: Revision) {
        self.revision = revision;
        self.index = TableIndex::of(self.derivation());
        self.recent.begin(revision);
    }

    /// Applies all events of one revision, and answers what changes in Redis,
    /// in a fixed order. Events of a revision that the table has passed are
    /// ignored.
    pub fn apply(&mut self, revision: Revision, events: &[Event]) -> Vec<Change> {
        self.in_steps(|table| steps::apply(table, revision, events))
    }

    /// Puts right what the table has wrong about a key, at the table's own
    /// revision; answers what that changes in Redis.
    pub fn correct(&mut self, event: &Event) -> Vec<Change> {
        self.in_steps(|table| steps::correct(table, event))
    }

    fn in_steps(&mut self, make: impl FnOnce(&RwLock<Self>) -> Vec<Change>) -> Vec<Change> {
        let table = RwLock::new(std::mem::take(self));
        let changes = make(&table);
        *self = table.into_inner().unwrap_or_else(|held| held.into_inner());
        changes
    }

    /// Takes events in, but for those that change the settings; answers what
    /// they touch.
    fn take(&mut self, events: &[Event]) -> BTreeSet<Element> {
        let mut touched = Touched::These(BTreeSet::new());
        for event in events {
            match event {
                event if settings_change::is_settings(event) => {}
                Event::Put(kv) => self.set(&kv.key, Some(kv), &mut touched),
                Event::Delete { key, .. } => self.set(key, None, &mut touched),
            }
        }
        let touched = touched.into_set();
        let derivation = derivation(&self.apps, &self.annotations, &self.shaping);
        for element in &touched {
            if let Element::Instance(app, id) = element {
                match self.apps.member(app, id) {
                    Some(member) => {
                        let found = derivation.verdict(member);
                        self.index.note(derivation, member, found);
                    }
                    None => self.index.forget(app, id),
                }
            }
        }
        touched
    }

    /// Ends a revision: what it touched is in. What is answered is to be dropped
    /// when the table is held no longer.
    fn reach(&mut self, revision: Revision, touched: Arc<[Element]>) -> Vec<TouchedBy> {
        self.revision = revision;
        self.recent.push(revision, touched)
    }

    /// Takes over from an older table the last good records of what is frozen
    /// in this one.
    pub fn keep_from(&mut self, older: &Table) {
        self.frozen = Frozen::taken_over(self, older);
    }

    /// The elements that may freeze or thaw by a change of a key.
    fn concerned(&self, key: &Key) -> Vec<Element> {
        let mut concerned: Vec<_> = key.touches().into_iter().collect();
        if let Key::App(app) = key {
            concerned.extend(self.probed_out(app.as_str()));
        }
        concerned
    }

    /// What the app's instances are until their first good probe, if they are
    /// probed; `None` while that cannot be known.
    fn initial(&self, app: &str) -> Option<Option<InitialState>> {
        let app = self.apps.get(app)?;
        let derivation = self.derivation();
        derivation.has_check(app)?;
        Some(derivation.health_check(app).map(|check| check.initial))
    }

    /// The app's instances of which probes found nothing good, or nothing yet:
    /// those that its health check concerns.
    fn probed_out(&self, app: &str) -> Vec<Element> {
        let down = self.annotations.health.ids(app, |found| !found.up);
        let down = down.into_iter();
        let down = down.map(|id| Element::Instance(app.into(), id.into()));
        down.chain(self.idle(app)).collect()
    }

    /// The app's instances that are not routed to.
    fn idle(&self, app: &str) -> impl Iterator<Item = Element> {
        let ids = self.index.idle_ids(app);
        ids.map(|id| Element::Instance(app.into(), id.into()))
    }

    /// Notes whether a key's value is bad, and what the elements that it
    /// concerns are before it is taken in. Where no key is bad, nothing freezes
    /// or thaws, and most need not be looked at.
    fn before(&mut self, name: &str, key: &Key, bad: Option<Bad>) -> Vec<(Element, Held)> {
        let is_loaded = self.revision > 0;
        let any_bad = bad.is_some() || !self.bad.is_empty();
        let may_freeze = is_loaded && any_bad;
        let concerned = if may_freeze {
            self.concerned(key)
        } else {
            Vec::new()
        };
        let before = concerned.into_iter().map(|element| {
            let held = self.held(&element);
            (element, held)
        });
        let before = before.collect();
        self.set_bad(name, bad);
        before
    }

    /// After a key was taken in: keeps the last good records of what froze.
    fn keep(&mut self, before: Vec<(Element, Held)>) {
        for (element, was) in before {
            let is_frozen = self.held(&element) == Held::Frozen;
            self.frozen.note(&element, Some(was), is_frozen);
        }
    }

    fn set_bad(&mut self, key: &str, bad: Option<Bad>) {
        match bad {
            Some(bad) => self.bad.insert(key.into(), bad),
            None => self.bad.remove(key),
        };
    }
}

/// Elements.
impl Table {
    fn derivation(&self) -> Derivation<'_> {
        derivation(&self.apps, &self.annotations, &self.shaping)
    }

    /// What the element is, at the table's revision.
    pub fn held(&self, element: &Element) -> Held {
        match element {
            Element::Route(host) => self.routes.held(host),
            element if element.is_defaults() => self.shaping.defaults_record(),
            Element::App(app) => {
                let app = self.apps.get(app);
                app.map_or(Held::Nothing, |app| self.derivation().policy(app))
            }
            Element::Instance(app, id) => {
                let member = self.apps.member(app, id);
                member.map_or(Held::Nothing, |member| self.derivation().instance(member))
            }
        }
    }

    /// What Redis must hold of these elements; frozen ones are left out.
    pub fn changes<'a>(&self, elements: impl IntoIterator<Item = &'a Element>) -> Vec<Change> {
        let changes = elements.into_iter().filter_map(|element| {
            let value = match self.held(element) {
                Held::Value(value) => Some(value),
                Held::Nothing => None,
                Held::Frozen => return None,
            };
            let element = element.clone();
            Some(Change { element, value })
        });
        changes.collect()
    }

    /// The next `limit` elements behind `after` that have a value, in the
    /// order of [`Element`].
    pub fn records(&self, after: Option<&Element>, limit: usize) -> Vec<Change> {
        let (routes, defaults, apps, instances) = match after {
            None => (Some(None), true, Some(None), Some(None)),
            Some(Element::Route(host)) => (Some(Some(&**host)), true, Some(None), Some(None)),
            Some(Element::App(app)) => (None, false, Some(Some(&**app)), Some(None)),
            Some(Element::Instance(app, id)) => (None, false, None, Some(Some((&**app, &**id)))),
        };
        // Bad settings freeze all that they shape.
        let thawed = !self.shaping.are_bad();
        let (apps, instances) = (apps.filter(|_| thawed), instances.filter(|_| thawed));
        let routes = routes
            .into_iter()
            .flat_map(|after| self.routes.range(behind(after)))
            .map(|(host, route)| {
                let held = self.routes.record(host, route);
                (Element::Route(host.clone()), held)
            });
        let defaults = defaults.then(|| (Element::defaults(), self.shaping.defaults_record()));
        let apps = apps
            .into_iter()
            .flat_map(|after| self.apps.range(behind(after)))
            .map(|(name, app)| (Element::App(name.clone()), self.derivation().policy(app)));
        let instances = instances
            .into_iter()
            .flat_map(|after| self.apps.members(after))
            .map(|member| (member.element(), self.derivation().instance(member)));
        let with_value = |(element, held)| match held {
            Held::Value(value) => Some(Change {
                element,
                value: Some(value),
            }),
            Held::Nothing | Held::Frozen => None,
        };
        routes
            .chain(defaults)
            .chain(apps)
            .chain(instances)
            .filter_map(with_value)
            .take(limit)
            .collect()
    }

    /// The elements that were touched after `revision`; `None` if that is too
    /// long ago to tell, or if they are more than some 20,000.
    pub fn touched_since(&self, revision: Revision) -> Option<BTreeSet<&Element>> {
        self.recent.since(revision)
    }

    /// Whether there is a key that an element comes from, also if the element
    /// has no value: an instance may be pending, or lack its address.
    pub fn has_key_of(&self, element: &Element) -> bool {
        match element {
            Element::Route(host) => self.routes.get(host).is_some(),
            element if element.is_defaults() => self.shaping.defaults_record() != Held::Nothing,
            Element::App(app) => self.apps.policy(app).is_some(),
            Element::Instance(app, id) => self.apps.member(app, id).is_some(),
        }
    }

    /// The last good records of frozen elements, as far as this table saw them:
    /// for a Redis that has lost them. An instance whose address has got
    /// another owner since is left out.
    pub fn kept(&self) -> Vec<Change> {
        self.frozen.records(self)
    }
}

/// What the registry says about itself, and keys.
impl Table {
    /// The revision that the table is at. While a large one is applied, what
    /// is shown may already have a part of it.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The registry's epoch, if the key is there.
    pub fn epoch(&self) -> Option<&str> {
        self.epoch.as_deref()
    }

    /// The settings of the registry; `None` while they are bad.
    pub fn settings(&self) -> Option<Settings> {
        self.shaping.settings()
    }

    /// The agents that are there with their create revisions, in byte order.
    pub fn agents(&self) -> impl Iterator<Item = (&str, Revision)> {
        self.agents.iter().map(|(id, created)| (&**id, *created))
    }

    /// The names of edges that were ever heard from, and have not quit.
    pub fn edges(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().map(|name| &**name)
    }

    /// Whether this is one of [`Table::edges`].
    pub fn has_edge(&self, name: &str) -> bool {
        self.edges.contains_key(name)
    }

    /// Keys of routes behind that of `after`, in byte order, with their mod
    /// revisions.
    pub fn route_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.routes.keys(after, limit)
    }

    /// The same of policies.
    pub fn policy_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.apps.policy_keys(after, limit)
    }

    /// The same of instances; `after` is `<app>/<id>`.
    pub fn instance_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.apps.instance_keys(after, limit)
    }

    /// The same of pauses.
    pub fn pause_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.routes.pause_keys(after, limit)
    }

    /// The same of overrides; `after` is `<app>/<id>`.
    pub fn override_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.annotations.overrides.keys("overrides", after, limit)
    }

    /// The same of what probes found; `after` is `<app>/<id>`.
    pub fn health_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.annotations.health.keys("health", after, limit)
    }
}

/// What the admin API shows.
impl Table {
    /// Routes whose host begins with `prefix`, behind `after`, in byte order.
    pub fn routes(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<RouteView> {
        self.routes
            .range(view::from(prefix, after))
            .take_while(|(host, _)| host.starts_with(prefix))
            .take(limit)
            .map(|(host, route)| RouteView::of(host, route))
            .collect()
    }

    /// Apps whose name begins with `prefix`, behind `after`, in byte order.
    pub fn apps(&self, prefix: &str, after: Option<&str>, limit: usize) -> Vec<AppSummary> {
        self.apps
            .range(view::from(prefix, after))
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
        view::merged(&self.bad, self.index.refused())
    }

    /// The first addresses that several instances claim, up to `limit`, and up
    /// to as many instances that lack theirs.
    pub fn shadowed(&self, limit: usize) -> Vec<Shadowed> {
        view::shadowed(
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

/// What the prober asks.
impl Table {
    /// The ids of an app's instances.
    pub fn instances_of(&self, app: &str) -> impl Iterator<Item = &str> {
        self.apps.members_of(app, None).map(|member| member.id)
    }

    /// An instance, if it is to be probed: its app has a health check, and it
    /// is routed to, unless it is pending, unhealthy or draining.
    pub fn probed(&self, app: &str, id: &str) -> Option<Probed<'_>> {
        Probed::of(self.derivation(), self.apps.member(app, id)?)
    }

    /// The same of all instances behind `after`, looking at `limit` of them.
    pub fn probed_behind(
        &self,
        after: Option<&(Box<str>, Box<str>)>,
        limit: usize,
    ) -> ProbedPage<'_> {
        ProbedPage::behind(self.derivation(), after, limit)
    }

    /// Overrides and health of an instance that mean nothing any more, as the
    /// instance is gone, or was registered again, or is not to be probed.
    pub fn orphans_of(&self, app: &str, id: &str) -> Keys {
        probed::orphans_of(self.derivation(), app, id)
    }

    /// The same of all names `<app>/<id>` behind `after`, looking at `limit` of
    /// them.
    pub fn orphans_behind(&self, after: Option<&str>, limit: usize) -> OrphansPage {
        OrphansPage::behind(self.derivation(), after, limit)
    }
}

fn derivation<'a>(
    apps: &'a Apps,
    annotations: &'a Annotations,
    shaping: &'a Shaping,
) -> Derivation<'a> {
    Derivation {
        apps,
        annotations,
        shaping,
    }
}

/// Everything behind `after`, or everything.
fn behind(after: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (
        after.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}

#[cfg(test)]
mod tests;
