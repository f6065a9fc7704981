//! What the prober asks of the table.

use std::borrow::Cow;
use std::collections::BTreeSet;

use pointsman_model::{Address, HealthCheck};
use pointsman_store::Revision;

use super::apps::Member;
use super::derivation::Derivation;
use super::{Keys, Table};

/// An instance that is to be probed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed<'a> {
    /// The revision at which it was registered.
    pub created: Revision,
    /// Where it listens.
    pub addr: Address,
    /// How it is probed.
    pub check: Cow<'a, HealthCheck>,
    /// What it is by what probes have found so far.
    pub standing: Standing,
    /// The mod revision of the key with what probes found.
    pub found_at: Option<Revision>,
}

/// What an instance that is probed is by what probes have found so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its first good probe.
    Pending,
    /// It is healthy.
    Healthy,
    /// It is unhealthy.
    Unhealthy,
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

/// A part of all names about which there is an override or health.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OrphansPage {
    /// Each `<app>/<id>` with a key that means nothing any more, and the key's
    /// mod revision.
    pub orphans: Vec<(String, String, Revision)>,
    /// The last name that was looked at; `None` at the end.
    pub last: Option<String>,
}

impl<'a> Probed<'a> {
    pub(super) fn of(derivation: Derivation<'a>, member: Member<'a>) -> Option<Self> {
        let check = derivation.health_check(member.app)?;
        let addr = member.stored.value.as_ref()?.addr;
        let standing = derivation.standing(member)?;
        let routed_to = derivation.shaping.allow(addr) && !derivation.is_shadowed(member);
        routed_to.then(|| Probed {
            created: member.stored.create_revision,
            addr,
            check: derivation.shaping.limited(check),
            standing,
            found_at: derivation.found_at(member),
        })
    }
}

impl<'a> ProbedPage<'a> {
    pub(super) fn behind(
        derivation: Derivation<'a>,
        after: Option<&(Box<str>, Box<str>)>,
        limit: usize,
    ) -> Self {
        let after = after.map(|(app, id)| (&**app, &**id));
        let looked_at: Vec<_> = derivation.apps.members(after).take(limit).collect();
        let last = looked_at.last().filter(|_| looked_at.len() == limit);
        let last = last.map(|member| (member.name.into(), member.id.into()));
        let probed = looked_at.into_iter().filter_map(|member| {
            let probed = Probed::of(derivation, member)?;
            Some((member.name, member.id, probed))
        });
        Self {
            probed: probed.collect(),
            last,
        }
    }
}

impl OrphansPage {
    pub(super) fn behind(derivation: Derivation<'_>, after: Option<&str>, limit: usize) -> Self {
        let annotations = derivation.annotations;
        let health = annotations.health.names(after).take(limit);
        let overrides = annotations.overrides.names(after).take(limit);
        let names: BTreeSet<_> = health.chain(overrides).collect();
        let last = names.iter().nth(limit.saturating_sub(1)).copied();
        let orphans = names.into_iter().take(limit).flat_map(|name| {
            let of = name.split_once('/');
            let keys = of.map(|(app, id)| orphans_of(derivation, app, id));
            let keys = keys.unwrap_or_default().into_iter();
            keys.map(move |(key, revision)| (name.to_owned(), key, revision))
        });
        Self {
            orphans: orphans.collect(),
            last: last.map(str::to_owned),
        }
    }
}

pub(super) fn orphans_of(derivation: Derivation<'_>, app: &str, id: &str) -> Keys {
    let member = derivation.apps.member(app, id);
    let outlived =
        |revision: &Revision| member.is_none_or(|member| *revision < member.stored.create_revision);
    // Whether bad settings ask for a check is not known.
    let unasked = !derivation.shaping.are_bad()
        && derivation
            .apps
            .get(app)
            .map(|app| derivation.has_check(app))
            == Some(Some(false));
    let annotations = derivation.annotations;
    let health = annotations.health.revision(app, id);
    let health = health.filter(|revision| outlived(revision) || unasked);
    let overrides = annotations.overrides.revision(app, id).filter(outlived);
    let keys = [("health", health), ("overrides", overrides)].into_iter();
    keys.filter_map(|(kind, revision)| Some((format!("{kind}/{app}/{id}"), revision?)))
        .collect()
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
        orphans_of(self.derivation(), app, id)
    }

    /// The same of all names `<app>/<id>` behind `after`, looking at `limit` of
    /// them.
    pub fn orphans_behind(&self, after: Option<&str>, limit: usize) -> OrphansPage {
        OrphansPage::behind(self.derivation(), after, limit)
    }
}
