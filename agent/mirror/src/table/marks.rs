//! Overrides and health: what others say about instances, and what of it holds.

use std::collections::BTreeMap;
use std::ops::Bound;

use pointsman_model::{Health, HealthCheck, Marks};
use pointsman_store::{KeyValue, Revision};

use super::{App, Entry, Table, behind};

/// What is said about instances, by `<app>/<id>`: in the order of the keys.
#[derive(Debug)]
pub(super) struct Said<T>(BTreeMap<Box<str>, Entry<T>>);

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Said<T> {
    pub(super) fn put(&mut self, app: &str, id: &str, kv: &KeyValue, value: Option<T>) {
        self.0.insert(name(app, id), Entry::of(kv, value));
    }

    pub(super) fn delete(&mut self, app: &str, id: &str) {
        self.0.remove(&name(app, id));
    }

    pub(super) fn revision(&self, app: &str, id: &str) -> Option<Revision> {
        self.entry(app, id).map(|entry| entry.mod_revision)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What was said about the registration of `created`, and not about one
    /// that was there before.
    fn about(&self, app: &str, id: &str, created: Revision) -> Option<&T> {
        let entry = self.entry(app, id)?;
        entry
            .value
            .as_ref()
            .filter(|_| entry.mod_revision > created)
    }

    fn entry(&self, app: &str, id: &str) -> Option<&Entry<T>> {
        // Nothing is said about most instances, and often about none.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&name(app, id))
    }

    /// The ids of the app's instances about which something is said.
    pub(super) fn ids(&self, app: &str) -> impl Iterator<Item = &str> {
        let prefix = name(app, "");
        let from: (Bound<&str>, Bound<&str>) = (Bound::Included(&prefix), Bound::Unbounded);
        let found = self.0.range::<str, _>(from);
        let ids = found.map_while(move |(name, _)| name.strip_prefix(&*prefix));
        ids.collect::<Vec<_>>().into_iter()
    }

    pub(super) fn keys(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Vec<(String, Revision)> {
        let said = self.0.range::<str, _>(behind(after)).take(limit);
        said.map(|(name, entry)| (format!("{kind}/{name}"), entry.mod_revision))
            .collect()
    }
}

fn name(app: &str, id: &str) -> Box<str> {
    format!("{app}/{id}").into()
}

impl Table {
    /// What holds for the instance that was registered at `created`; `None`
    /// while it cannot be known, since its app's policy is bad.
    pub(super) fn marks(&self, app: &str, id: &str, created: Revision) -> Option<Marks> {
        Some(Marks {
            draining: self.is_draining(app, id, created),
            down: self.found_down(app, id, created).is_some() && self.has_check(app)?,
        })
    }

    pub(super) fn is_draining(&self, app: &str, id: &str, created: Revision) -> bool {
        let found = self.overrides.about(app, id, created);
        found.is_some_and(|found| found.draining)
    }

    /// What probes found, if that was nothing good.
    pub(super) fn found_down(&self, app: &str, id: &str, created: Revision) -> Option<&Health> {
        let found = self.health.about(app, id, created);
        found.filter(|found| !found.up)
    }

    /// Whether an app's instances are probed; `None` while its policy is bad.
    pub(super) fn has_check(&self, app: &str) -> Option<bool> {
        let held = self.apps.get(app);
        let policy = held.and_then(|held| held.policy.as_ref());
        match policy {
            Some(Entry { value: None, .. }) => None,
            _ => Some(held.is_some_and(|held| self.health_check(held).is_some())),
        }
    }

    /// How an app's instances are probed, by its policy or by the defaults.
    pub(super) fn health_check<'a>(&'a self, app: &'a App) -> Option<&'a HealthCheck> {
        let own = match &app.policy {
            None => None,
            Some(entry) => entry.value.as_ref()?.health_check.as_ref(),
        };
        own.or_else(|| self.shaping.defaults()?.health_check.as_ref())
    }

    /// The mod revision of what probes found, if they found anything.
    pub fn health_revision(&self, app: &str, id: &str) -> Option<Revision> {
        self.health.revision(app, id)
    }

    /// Keys of overrides behind that of `after`, in byte order, with their mod
    /// revisions.
    pub fn override_keys(&self, after: Option<&str>, limit: usize) -> Vec<(String, Revision)> {
        self.overrides.keys("overrides", after, limit)
    }

    /// The same of what probes found.
    pub fn health_keys(&self, after: Option<&str>, limit: usize) -> Vec<(String, Revision)> {
        self.health.keys("health", after, limit)
    }
}
