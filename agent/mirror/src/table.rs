//! The table: etcd's content, and what it derives to in Redis.
//!
//! Everything here is a pure function of the keys that were loaded and the
//! events that were applied, so two agents with the same revision agree,
//! however they came to it. The one exception: a bad value *freezes* its
//! element, which is then neither written nor deleted until the key is valid
//! again or gone.
//!
//! Each kind of key has a type that owns what is held of it; only the file `keys`
//! knows all kinds. Others read the table while it is locked, so
//! no question to it looks through more than what it answers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use pointsman_model::{Bad, Change, Element, InitialState, Key, Settings};
use pointsman_store::{Event, KeyValue, Revision};

mod annotations;
mod apps;
mod conflicts;
mod derivation;
mod frozen;
mod index;
mod keys;
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
pub use conflicts::{OutOfService, RouteOwner, apps_of};
use derivation::Derivation;
use frozen::Frozen;
use index::TableIndex;
pub use probed::{OrphansPage, Probed, ProbedPage, Standing};
use recent::{Recent, TouchedBy};
use routes::Routes;
use settings::Shaping;
use settings_change::SettingsChange;
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
    /// probed, and since which revision; `None` while that cannot be known.
    fn initial(&self, app: &str) -> Option<Option<(InitialState, Revision)>> {
        let app = self.apps.get(app)?;
        let derivation = self.derivation();
        derivation.has_check(app)?;
        let check = derivation.check_since(app);
        Some(check.map(|(check, since)| (check.initial, since)))
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
