//! What the prober asks of the table.

use std::collections::BTreeSet;
use std::ops::Bound;

use pointsman_model::{Address, HealthCheck, Instance};
use pointsman_store::Revision;

use super::{App, Entry, Table, behind};

/// An instance that is to be probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed<'a> {
    /// The revision at which it was registered.
    pub created: Revision,
    /// Where it listens.
    pub addr: Address,
    /// How it is probed.
    pub check: &'a HealthCheck,
    /// The mod revision of the key by which it is unhealthy.
    pub unhealthy: Option<Revision>,
}

/// A part of all instances that are to be probed.
#[derive(Debug)]
pub struct ProbedPage<'a> {
    /// App, id and what is to be probed.
    pub probed: Vec<(&'a str, &'a str, Probed<'a>)>,
    /// The app and id of the last instance that was looked at; `None` at the
    /// end.
    pub last: Option<(Box<str>, Box<str>)>,
}

impl Table {
    /// The ids of an app's instances.
    pub fn instances_of(&self, app: &str) -> impl Iterator<Item = &str> {
        let instances = self
            .apps
            .get(app)
            .into_iter()
            .flat_map(|app| &app.instances);
        instances.map(|(id, _)| &**id)
    }

    /// An instance, if it is to be probed: its app has a health check, and it
    /// is routed to, unless it is unhealthy or draining.
    pub fn probed(&self, app: &str, id: &str) -> Option<Probed<'_>> {
        let held = self.apps.get(app)?;
        let (id, entry) = held.instances.get_key_value(id)?;
        self.probed_entry(app, held, id, entry)
    }

    /// The same of all instances behind `after`, looking at `limit` of them.
    pub fn probed_behind(
        &self,
        after: Option<&(Box<str>, Box<str>)>,
        limit: usize,
    ) -> ProbedPage<'_> {
        let rest_of_app = after.into_iter().flat_map(|(app, id)| {
            let found = self.apps.get_key_value(app).into_iter();
            found.flat_map(move |(app, held)| {
                let instances = held.instances.range::<str, _>(behind(Some(id)));
                instances.map(move |instance| (app, held, instance))
            })
        });
        let apps: (Bound<&str>, Bound<&str>) = behind(after.map(|(app, _)| &**app));
        let other_apps = self.apps.range::<str, _>(apps).flat_map(|(app, held)| {
            let instances = held.instances.iter();
            instances.map(move |instance| (app, held, instance))
        });
        let mut last = None;
        let mut looked_at = 0;
        let mut probed = Vec::new();
        for (app, held, (id, entry)) in rest_of_app.chain(other_apps).take(limit) {
            looked_at += 1;
            last = Some((app, id));
            if let Some(found) = self.probed_entry(app, held, id, entry) {
                probed.push((&**app, &**id, found));
            }
        }
        let last = last.filter(|_| looked_at == limit);
        ProbedPage {
            probed,
            last: last.map(|(app, id)| (app.clone(), id.clone())),
        }
    }

    /// What is said about an instance but means nothing any more, as the
    /// instance is gone, or was registered again, or is not to be probed: keys
    /// with their mod revisions.
    pub fn orphans_of(&self, app: &str, id: &str) -> Vec<(String, Revision)> {
        let held = self.apps.get(app);
        let instance = held.and_then(|held| held.instances.get(id));
        let outlived = |said: &Revision| instance.is_none_or(|entry| *said < entry.create_revision);
        // Whether bad settings ask for a check is not known.
        let unasked = !self.shaping.are_bad() && self.has_check(app) == Some(false);
        let found = self.health_revision(app, id);
        let found = found.filter(|found| outlived(found) || unasked);
        let word = self.overrides.revision(app, id).filter(outlived);
        let keys = [("health", found), ("overrides", word)].into_iter();
        keys.filter_map(|(kind, said)| Some((format!("{kind}/{app}/{id}"), said?)))
            .collect()
    }

    /// The same of all instances: each `<app>/<id>` with a key.
    pub fn orphans(&self) -> Vec<(String, String, Revision)> {
        let said = [
            ("health/", self.health_keys(None, usize::MAX)),
            ("overrides/", self.override_keys(None, usize::MAX)),
        ];
        let mut names = BTreeSet::new();
        for (kind, keys) in &said {
            names.extend(keys.iter().filter_map(|(key, _)| key.strip_prefix(kind)));
        }
        let orphans = names.into_iter().flat_map(|name| {
            let of = name.split_once('/');
            let keys = of.map(|(app, id)| self.orphans_of(app, id));
            let keys = keys.unwrap_or_default().into_iter();
            keys.map(move |(key, revision)| (name.to_owned(), key, revision))
        });
        orphans.collect()
    }

    fn probed_entry<'a>(
        &'a self,
        app: &str,
        held: &'a App,
        id: &str,
        entry: &Entry<Instance>,
    ) -> Option<Probed<'a>> {
        let check = self.health_check(held)?;
        let instance = entry.value.as_ref()?;
        let routed_to = self.refusal(instance).is_none()
            && !self.is_shadowed(app, id, entry.create_revision, instance);
        routed_to.then(|| Probed {
            created: entry.create_revision,
            addr: instance.addr,
            check,
            unhealthy: self
                .found_down(app, id, entry.create_revision)
                .and(self.health_revision(app, id)),
        })
    }
}
