//! Overrides and health: what others say about instances.

use std::collections::BTreeMap;
use std::ops::Bound;

use pointsman_model::{Health, Override};
use pointsman_store::Revision;

use super::stored::Stored;
use super::touched::Touched;
use super::{Keys, behind};

/// All overrides and all health.
#[derive(Debug, Default)]
pub(super) struct Annotations {
    pub(super) overrides: PerInstance<Override>,
    pub(super) health: PerInstance<Health>,
}

/// Values by `<app>/<id>`: in the order of the keys.
#[derive(Debug)]
pub(super) struct PerInstance<T>(BTreeMap<Box<str>, Stored<T>>);

impl<T> Default for PerInstance<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> PerInstance<T> {
    /// Takes a value in, or out.
    pub(super) fn set(
        &mut self,
        app: &str,
        id: &str,
        value: Option<Stored<T>>,
        touched: &mut Touched,
    ) {
        match value {
            Some(value) => self.0.insert(name(app, id), value),
            None => self.0.remove(&name(app, id)),
        };
        touched.instance(app, id);
    }

    pub(super) fn revision(&self, app: &str, id: &str) -> Option<Revision> {
        self.get(app, id).map(|stored| stored.mod_revision)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What holds for the registration of `created`: what was written after it,
    /// and not about one that was there before.
    pub(super) fn about(&self, app: &str, id: &str, created: Revision) -> Option<&T> {
        let stored = self.get(app, id)?;
        stored
            .value
            .as_ref()
            .filter(|_| stored.mod_revision > created)
    }

    fn get(&self, app: &str, id: &str) -> Option<&Stored<T>> {
        // There is nothing about most instances, and often about none.
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&name(app, id))
    }

    /// The ids of the app's instances about which there is something that is
    /// `wanted`.
    pub(super) fn ids(&self, app: &str, wanted: impl Fn(&T) -> bool) -> Vec<&str> {
        let prefix = name(app, "");
        let from: (Bound<&str>, Bound<&str>) = (Bound::Included(&prefix), Bound::Unbounded);
        let found = self.0.range::<str, _>(from);
        let of_app = found.map_while(|(name, stored)| Some((name.strip_prefix(&*prefix)?, stored)));
        of_app
            .filter(|(_, stored)| stored.value.as_ref().is_some_and(&wanted))
            .map(|(id, _)| id)
            .collect()
    }

    /// The names behind `after`.
    pub(super) fn names(&self, after: Option<&str>) -> impl Iterator<Item = &str> {
        let found = self.0.range::<str, _>(behind(after));
        found.map(|(name, _)| &**name)
    }

    pub(super) fn keys(&self, kind: &str, after: Option<&str>, limit: usize) -> Keys {
        let found = self.0.range::<str, _>(behind(after)).take(limit);
        found
            .map(|(name, stored)| (format!("{kind}/{name}"), stored.mod_revision))
            .collect()
    }
}

fn name(app: &str, id: &str) -> Box<str> {
    format!("{app}/{id}").into()
}
