//! The last good records of frozen elements: for a Redis that has lost them.

use std::collections::BTreeMap;

use pointsman_model::{Change, Element, Instance, Key};
use pointsman_store::Revision;

use super::{Held, Table};

/// The records that frozen elements had before, where this table saw them.
#[derive(Clone, Debug, Default)]
pub(super) struct Frozen(BTreeMap<Element, Box<str>>);

impl Frozen {
    /// Keeps the record that an element had before it froze; forgets that of one
    /// that is not frozen.
    pub(super) fn note(&mut self, element: &Element, was: Option<Held>, is_frozen: bool) {
        match (was, is_frozen) {
            (Some(Held::Value(value)), true) => {
                self.0.insert(element.clone(), value);
            }
            (_, true) => {}
            (_, false) => {
                self.0.remove(element);
            }
        }
    }

    /// The last good records, as far as this table saw them. An instance whose
    /// address has got another owner since is left out.
    pub(super) fn records(&self, table: &Table) -> Vec<Change> {
        let kept = self.0.iter().filter(|(element, record)| {
            table.held(element) == Held::Frozen && !has_lost_address(table, element, record)
        });
        kept.map(|(element, value)| Change {
            element: element.clone(),
            value: Some(value.clone()),
        })
        .collect()
    }

    /// What an older table knows of what is frozen in this one.
    pub(super) fn taken_over(table: &Table, older: &Table) -> Self {
        let bad = table.bad.keys().filter_map(|key| Key::parse(key).ok());
        let frozen = bad.flat_map(|key| table.concerned(&key));
        let all = table.shaping.are_bad().then(|| shaped_by_settings(table));
        let kept = frozen.chain(all.into_iter().flatten()).filter(|element| {
            table.held(element) == Held::Frozen
                && created(table, element) == created(older, element)
        });
        let kept = kept.filter_map(|element| {
            let value = match older.held(&element) {
                Held::Value(value) => Some(value),
                Held::Frozen => older.frozen.0.get(&element).cloned(),
                Held::Nothing => None,
            };
            Some((element, value?))
        });
        Self(kept.collect())
    }
}

/// What bad settings freeze: the defaults, all policies, all instances.
fn shaped_by_settings(table: &Table) -> impl Iterator<Item = Element> {
    let own = table.apps.range(super::behind(None));
    let own = own.filter(|(_, app)| app.policy.is_some());
    let instances = table.apps.members(None).map(|member| member.element());
    std::iter::once(Element::defaults())
        .chain(own.map(|(name, _)| Element::App(name.clone())))
        .chain(instances)
}

/// The create revision of the key that an element comes from.
fn created(table: &Table, element: &Element) -> Option<Revision> {
    match element {
        Element::Route(host) => table.routes.get(host).map(|route| route.create_revision),
        element if element.is_defaults() => table.shaping.create_revision(),
        Element::App(app) => {
            let policy = table.apps.policy(app);
            policy.map(|policy| policy.create_revision)
        }
        Element::Instance(app, id) => {
            let member = table.apps.member(app, id);
            member.map(|member| member.stored.create_revision)
        }
    }
}

/// Whether the address that an instance had belongs to another one, or is not
/// allowed any more.
fn has_lost_address(table: &Table, element: &Element, record: &str) -> bool {
    let Element::Instance(..) = element else {
        return false;
    };
    let Some(addr) = Instance::address_of(record) else {
        return true;
    };
    let owner = table.apps.owners().owner(addr);
    owner.is_some_and(|owner| owner != *element) || !table.shaping.allow(addr)
}
