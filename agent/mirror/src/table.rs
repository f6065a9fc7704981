//! The table: etcd's content, and what it derives to in Redis.
//!
//! Everything here is a pure function of the keys that were loaded and the
//! events that were applied, so two agents with the same revision agree,
//! however they came to it. The one exception: a bad value *freezes* its
//! element, which is then neither written nor deleted until the key is valid
//! again or gone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pointsman_model::{Bad, Change, Element, Health, Instance, Key, Override, Policy, Settings};
use pointsman_store::{Event, KeyValue, Revision};

mod instances;
mod kept;
mod marks;
mod owners;
mod probing;
mod recent;
mod routes;
mod rules;
mod shaping;
mod touched;
mod view;

use marks::Said;
use owners::Owners;
pub use probing::{Probed, ProbedPage};
use recent::Recent;
use routes::Routes;
use rules::Rules;
use shaping::Shaping;
use touched::Touched;
pub use view::{AppSummary, AppView, Counts, InstanceState, InstanceView, RouteView, Shadowed};

/// etcd's content at one revision.
#[derive(Debug, Default)]
pub struct Table {
    revision: Revision,
    routes: Routes,
    apps: BTreeMap<Box<str>, App>,
    owners: Owners,
    overrides: Said<Override>,
    health: Said<Health>,
    bad: BTreeMap<Box<str>, Bad>,
    /// The records that frozen elements had before, where this table saw them.
    kept: BTreeMap<Element, Box<str>>,
    shaping: Shaping,
    /// What the registry calls itself, and the last rebuild's token.
    epoch: Option<Box<str>>,
    rebuild: Revision,
    /// The agents that are there, with their create revisions.
    agents: BTreeMap<Box<str>, Revision>,
    /// The names of edges that were heard from, with their mod revisions.
    edges: BTreeMap<Box<str>, Revision>,
    recent: Recent,
}

/// A key whose name is canonical. `value` is `None` while the value is bad.
#[derive(Debug)]
struct Entry<T> {
    create_revision: Revision,
    mod_revision: Revision,
    value: Option<T>,
}

#[derive(Debug, Default)]
struct App {
    policy: Option<Entry<Box<Policy>>>,
    instances: BTreeMap<Box<str>, Entry<Instance>>,
}

impl App {
    fn is_empty(&self) -> bool {
        self.policy.is_none() && self.instances.is_empty()
    }
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

impl Table {
    /// An empty table, to be filled by [`Table::load`].
    pub fn new() -> Self {
        Self::default()
    }

    /// The revision that the table is at.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The registry's epoch, if the key is there.
    pub fn epoch(&self) -> Option<&str> {
        self.epoch.as_deref()
    }

    /// The mod revision of the key `rebuild`; 0 if it is not there.
    pub fn rebuild_token(&self) -> Revision {
        self.rebuild
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

    /// The mod revision of a key, if it is there; canonical keys only.
    pub fn key_revision(&self, key: &str) -> Option<Revision> {
        match Key::parse(key).ok()? {
            Key::Route(host) => self.routes.revision(host.as_str()),
            Key::App(app) => {
                let policy = self.apps.get(app.as_str())?.policy.as_ref();
                policy.map(|e| e.mod_revision)
            }
            Key::Instance(app, id) => {
                let instances = &self.apps.get(app.as_str())?.instances;
                instances.get(id.as_str()).map(|e| e.mod_revision)
            }
            Key::Override(app, id) => self.overrides.revision(app.as_str(), id.as_str()),
            Key::Health(app, id) => self.health.revision(app.as_str(), id.as_str()),
            Key::Settings => self.shaping.entry().map(|e| e.mod_revision),
            Key::Edge(name) => self.edges.get(name.as_str()).copied(),
            _ => None,
        }
    }

    /// The elements that were touched after `revision`; `None` if that is too
    /// long ago to tell.
    pub fn touched_since(&self, revision: Revision) -> Option<BTreeSet<&Element>> {
        self.recent.since(revision)
    }

    /// Takes in a key of a listing.
    pub fn load(&mut self, kv: &KeyValue) {
        self.put(kv, &mut Touched::Unasked);
    }

    /// Ends the loading: the table is now at `revision`.
    pub fn loaded(&mut self, revision: Revision) {
        self.revision = revision;
        self.recent.begin(revision);
    }

    /// Applies all events of one revision, and answers what changes in Redis,
    /// in a fixed order. Events of a revision that the table has passed are
    /// ignored.
    pub fn apply(&mut self, revision: Revision, events: &[Event]) -> Vec<Change> {
        if revision <= self.revision {
            return Vec::new();
        }
        let touched = self.take(events);
        self.revision = revision;
        let changes = touched
            .iter()
            .filter_map(|element| self.change(element.clone()))
            .collect();
        self.recent.push(revision, touched);
        changes
    }

    /// Puts right what the table has wrong about a key, at the table's own
    /// revision; answers what that changes in Redis.
    pub fn correct(&mut self, event: &Event) -> Vec<Change> {
        let touched = self.take(std::slice::from_ref(event));
        let changes = touched
            .iter()
            .filter_map(|element| self.change(element.clone()))
            .collect();
        self.recent.push(self.revision, touched);
        changes
    }

    /// What Redis must hold of these elements; frozen ones are left out.
    pub fn changes<'a>(&self, elements: impl IntoIterator<Item = &'a Element>) -> Vec<Change> {
        elements
            .into_iter()
            .filter_map(|element| self.change(element.clone()))
            .collect()
    }

    fn take(&mut self, events: &[Event]) -> BTreeSet<Element> {
        let mut touched = Touched::nothing_yet();
        for event in events {
            match event {
                Event::Put(kv) => self.put(kv, &mut touched),
                Event::Delete { key, .. } => self.delete(key, &mut touched),
            }
        }
        touched.into_set()
    }

    /// What the element is, at the table's revision.
    pub fn held(&self, element: &Element) -> Held {
        match element {
            Element::Route(host) => self.routes.held(host),
            element if element.is_defaults() => self.shaping.defaults_record(),
            Element::App(app) => {
                let app = self.apps.get(app);
                app.map_or(Held::Nothing, |app| self.app_record(app))
            }
            Element::Instance(app, id) => {
                match self.apps.get(app).and_then(|a| a.instances.get(id)) {
                    None => Held::Nothing,
                    Some(entry) => self.instance_record(app, id, entry),
                }
            }
        }
    }

    /// The next `limit` elements behind `after` that have a value, in the
    /// order of [`Element`].
    pub fn records(&self, after: Option<&Element>, limit: usize) -> Vec<Change> {
        let (routes, apps, instances) = match after {
            None => (Some(None), Some(None), None),
            Some(Element::Route(host)) => (Some(Some(&**host)), Some(None), None),
            Some(Element::App(app)) => (None, Some(Some(&**app)), None),
            Some(Element::Instance(app, id)) => (None, None, Some((app, id))),
        };
        let routes = routes
            .into_iter()
            .flat_map(|after| self.routes.range(behind(after)))
            .map(|(host, entry)| {
                (
                    Element::Route(host.clone()),
                    self.routes.record(host, entry),
                )
            });
        let defaults = matches!(after, None | Some(Element::Route(_)));
        let defaults = defaults.then(|| self.defaults_change()).flatten();
        let apps = apps
            .into_iter()
            .flat_map(|after| self.apps.range::<str, _>(behind(after)))
            .map(|(app, entry)| (Element::App(app.clone()), self.app_record(entry)));
        let rest_of_app = instances.into_iter().flat_map(|(app, id)| {
            let found = self.apps.get_key_value(app).into_iter();
            found.flat_map(move |(app, entry)| {
                entry
                    .instances
                    .range::<str, _>(behind(Some(id)))
                    .map(move |found| (app, found))
            })
        });
        let other_apps = self
            .apps
            .range::<str, _>(behind(instances.map(|(app, _)| &**app)))
            .flat_map(|(app, entry)| entry.instances.iter().map(move |found| (app, found)));
        let instances = rest_of_app.chain(other_apps).map(|(app, (id, entry))| {
            let element = Element::Instance(app.clone(), id.clone());
            (element, self.instance_record(app, id, entry))
        });
        let with_value = |(element, held)| match held {
            Held::Value(value) => Some(Change {
                element,
                value: Some(value),
            }),
            Held::Nothing | Held::Frozen => None,
        };
        routes
            .filter_map(with_value)
            .chain(defaults)
            .chain(apps.chain(instances).filter_map(with_value))
            .take(limit)
            .collect()
    }

    fn change(&self, element: Element) -> Option<Change> {
        match self.held(&element) {
            Held::Value(value) => Some(Change {
                element,
                value: Some(value),
            }),
            Held::Nothing => Some(Change {
                element,
                value: None,
            }),
            Held::Frozen => None,
        }
    }

    fn instance_record(&self, app: &str, id: &str, entry: &Entry<Instance>) -> Held {
        match &entry.value {
            None => Held::Frozen,
            Some(_) if self.shaping.are_bad() => Held::Frozen,
            Some(instance) if self.refusal(instance).is_some() => Held::Nothing,
            Some(instance) if self.is_shadowed(app, id, entry.create_revision, instance) => {
                Held::Nothing
            }
            Some(instance) => match self.marks(app, id, entry.create_revision) {
                Some(marks) => Held::Value(instance.record(entry.mod_revision, marks).into()),
                None => Held::Frozen,
            },
        }
    }

    fn is_shadowed(&self, app: &str, id: &str, created: Revision, instance: &Instance) -> bool {
        !instance.shared && !self.owners.is_owner(instance.addr, created, app, id)
    }

    fn put(&mut self, kv: &KeyValue, touched: &mut Touched) {
        let key = match Key::parse(&kv.key) {
            Ok(key) => key,
            Err(bad) => {
                self.bad.insert(kv.key.as_str().into(), bad);
                return;
            }
        };
        let mut was = None;
        let refused = match &key {
            Key::Route(host) => {
                let (value, bad) = split(Rules::from_value(&kv.value));
                was = self.before(&key, bad.is_some());
                self.routes
                    .put(host.as_str(), Entry::of(kv, value), touched);
                bad
            }
            Key::App(app) => {
                let (value, bad) = split(Policy::from_value(&kv.value));
                was = self.before(&key, bad.is_some() || !self.bad.is_empty());
                self.app(app.as_str()).policy = Some(Entry::of(kv, value.map(Box::new)));
                self.touch_policy(app.as_str(), touched);
                bad
            }
            Key::Instance(app, id) => {
                let (value, bad) = split(Instance::from_value(&kv.value));
                was = self.before(&key, bad.is_some() || !self.bad.is_empty());
                let bad = bad.or_else(|| self.refusal(value.as_ref()?));
                self.put_instance(app.as_str(), id.as_str(), Entry::of(kv, value), touched);
                bad
            }
            Key::Settings => {
                let (value, bad) = split(Settings::from_value(&kv.value));
                self.put_settings(Some(Entry::of(kv, value)), touched);
                bad
            }
            Key::Override(app, id) => {
                let (value, bad) = split(Override::from_value(&kv.value));
                self.overrides.put(app.as_str(), id.as_str(), kv, value);
                touched.insert(|| Element::Instance(app.as_str().into(), id.as_str().into()));
                bad
            }
            Key::Health(app, id) => {
                let (value, bad) = split(Health::from_value(&kv.value));
                self.health.put(app.as_str(), id.as_str(), kv, value);
                touched.insert(|| Element::Instance(app.as_str().into(), id.as_str().into()));
                bad
            }
            Key::Epoch => {
                self.epoch = Some(String::from_utf8_lossy(&kv.value).into());
                None
            }
            Key::Rebuild => {
                self.rebuild = kv.mod_revision;
                None
            }
            Key::Edge(name) => {
                self.edges.insert(name.as_str().into(), kv.mod_revision);
                None
            }
            Key::Agent(id) => {
                self.agents.insert(id.clone(), kv.create_revision);
                None
            }
            Key::Confirm | Key::Adopt => None,
        };
        match refused {
            Some(bad) => self.bad.insert(kv.key.as_str().into(), bad),
            None => self.bad.remove(kv.key.as_str()),
        };
        self.keep(&key, was);
    }

    fn delete(&mut self, key: &str, touched: &mut Touched) {
        self.bad.remove(key);
        let parsed = Key::parse(key);
        if let Some(element) = parsed.as_ref().ok().and_then(Key::element) {
            self.kept.remove(&element);
        }
        match parsed {
            Ok(Key::Route(host)) => {
                self.routes.delete(host.as_str(), touched);
            }
            Ok(Key::App(app)) => {
                self.app(app.as_str()).policy = None;
                self.touch_policy(app.as_str(), touched);
                self.drop_if_empty(app.as_str());
            }
            Ok(Key::Instance(app, id)) => {
                let (app, id) = (app.as_str(), id.as_str());
                if let Some(old) = self.app(app).instances.remove(id) {
                    touched.insert(|| Element::Instance(app.into(), id.into()));
                    self.release(app, id, &old, touched);
                }
                self.drop_if_empty(app);
            }
            Ok(Key::Settings) => self.put_settings(None, touched),
            Ok(Key::Override(app, id)) => {
                self.overrides.delete(app.as_str(), id.as_str());
                touched.insert(|| Element::Instance(app.as_str().into(), id.as_str().into()));
            }
            Ok(Key::Health(app, id)) => {
                self.health.delete(app.as_str(), id.as_str());
                touched.insert(|| Element::Instance(app.as_str().into(), id.as_str().into()));
            }
            Ok(Key::Epoch) => self.epoch = None,
            Ok(Key::Rebuild) => self.rebuild = 0,
            Ok(Key::Edge(name)) => {
                self.edges.remove(name.as_str());
            }
            Ok(Key::Agent(id)) => {
                self.agents.remove(&id);
            }
            Ok(Key::Confirm | Key::Adopt) | Err(_) => {}
        }
    }

    /// A policy also says whether what probes found counts.
    fn touch_policy(&self, app: &str, touched: &mut Touched) {
        touched.insert(|| Element::App(app.into()));
        let found = self.health.ids(app);
        touched.extend(found.map(|id| Element::Instance(app.into(), id.into())));
    }

    fn app(&mut self, name: &str) -> &mut App {
        if !self.apps.contains_key(name) {
            self.apps.insert(name.into(), App::default());
        }
        self.apps.entry(name.into()).or_default()
    }

    fn drop_if_empty(&mut self, name: &str) {
        if self.apps.get(name).is_some_and(App::is_empty) {
            self.apps.remove(name);
        }
    }
}

impl<T> Entry<T> {
    fn of(kv: &KeyValue, value: Option<T>) -> Self {
        Self {
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            value,
        }
    }
}

/// Everything behind `after`, or everything.
fn behind(after: Option<&str>) -> (Bound<&str>, Bound<&str>) {
    (
        after.map_or(Bound::Unbounded, Bound::Excluded),
        Bound::Unbounded,
    )
}

fn split<T>(result: Result<T, Bad>) -> (Option<T>, Option<Bad>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(bad) => (None, Some(bad)),
    }
}

#[cfg(test)]
mod tests;
