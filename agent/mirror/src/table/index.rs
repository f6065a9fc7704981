//! What follows from all instances together. It is kept up to date, so that no
//! reader has to look at each instance while it holds the table.

use std::collections::{BTreeMap, BTreeSet};

use pointsman_model::{Address, Bad, Element, Marks};

use super::InstanceState;
use super::apps::{Apps, Member};
use super::derivation::{Derivation, Verdict};
use super::settings::Shaping;

/// The index of instances. It is a pure function of the table.
#[derive(Debug, Default, PartialEq)]
pub(super) struct TableIndex {
    /// Instances that are not routed to, by app: there are few.
    idle: BTreeMap<Box<str>, BTreeSet<Box<str>>>,
    /// Keys of instances that the settings do not allow.
    refused: BTreeMap<Box<str>, Bad>,
    /// Addresses that several instances claim, and how many of them lack it.
    contested: BTreeMap<Address, usize>,
    /// How many that is in all.
    shadowed: usize,
}

impl TableIndex {
    /// The index of all instances.
    pub(super) fn of(derivation: Derivation<'_>) -> Self {
        let mut index = Self::contested(derivation.apps, derivation.shaping);
        for member in derivation.apps.members(None) {
            index.add(derivation, member, derivation.verdict(member));
        }
        index
    }

    /// The addresses' part of it.
    pub(super) fn contested(apps: &Apps, shaping: &Shaping) -> Self {
        let mut index = Self::default();
        for addr in apps.owners().contested() {
            index.note_address(apps, shaping, addr);
        }
        index
    }

    /// Notes who claims an address that the settings allow.
    pub(super) fn note_address(&mut self, apps: &Apps, shaping: &Shaping, addr: Address) {
        let shadowed = apps.owners().claims(addr).len().saturating_sub(1);
        let before = if shadowed > 0 && shaping.allow(addr) {
            self.shadowed += shadowed;
            self.contested.insert(addr, shadowed)
        } else {
            self.contested.remove(&addr)
        };
        self.shadowed -= before.unwrap_or(0);
    }

    /// Notes an instance as it is, whatever was noted of it.
    pub(super) fn note(&mut self, derivation: Derivation<'_>, member: Member<'_>, found: Verdict) {
        self.forget(member.name, member.id);
        self.add(derivation, member, found);
    }

    /// Notes an instance of which nothing is noted.
    pub(super) fn add(&mut self, derivation: Derivation<'_>, member: Member<'_>, found: Verdict) {
        let is_live = match found {
            Verdict::Record(marks) => marks == Marks::default(),
            Verdict::Nothing => false,
            Verdict::Frozen => derivation.state(member) == InstanceState::Live,
        };
        if is_live {
            return;
        }
        let instance = member.stored.value.as_ref();
        if let Some(bad) = instance.and_then(|i| derivation.shaping.refusal(i.addr)) {
            self.refused.insert(key(member.name, member.id), bad);
        }
        let idle = match self.idle.get_mut(member.name) {
            Some(idle) => idle,
            None => self.idle.entry(member.name.into()).or_default(),
        };
        idle.insert(member.id.into());
    }

    /// Notes that an instance is gone.
    pub(super) fn forget(&mut self, app: &str, id: &str) {
        if let Some(idle) = self.idle.get_mut(app) {
            idle.remove(id);
            if idle.is_empty() {
                self.idle.remove(app);
            }
        }
        if !self.refused.is_empty() {
            self.refused.remove(&key(app, id));
        }
    }

    /// How many of an app's instances are not routed to.
    pub(super) fn idle(&self, app: &str) -> usize {
        self.idle.get(app).map_or(0, BTreeSet::len)
    }

    /// The ids of an app's instances that are not routed to.
    pub(super) fn idle_ids(&self, app: &str) -> impl Iterator<Item = &str> {
        let idle = self.idle.get(app).into_iter().flatten();
        idle.map(|id| &**id)
    }

    /// All instances that are not routed to.
    pub(super) fn all_idle(&self) -> impl Iterator<Item = Element> {
        let apps = self.idle.keys();
        apps.flat_map(|app| {
            let ids = self.idle_ids(app);
            ids.map(|id| Element::Instance(app.clone(), id.into()))
        })
    }

    pub(super) fn refused(&self) -> &BTreeMap<Box<str>, Bad> {
        &self.refused
    }

    /// Addresses that several instances claim, in their order.
    pub(super) fn addresses(&self) -> impl ExactSizeIterator<Item = Address> {
        self.contested.keys().copied()
    }

    /// How many instances lack their address.
    pub(super) fn shadowed(&self) -> usize {
        self.shadowed
    }
}

fn key(app: &str, id: &str) -> Box<str> {
    format!("instances/{app}/{id}").into()
}
