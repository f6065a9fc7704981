//! The last good records of frozen elements: for a Redis that has lost them.

use pointsman_model::{Change, Element, Instance, Key};
use pointsman_store::Revision;

use super::{Held, Table};

impl Table {
    /// What an element is before a put that may freeze it. Where no key is bad,
    /// nothing freezes, and most puts need not know.
    pub(super) fn before(&self, key: &Key, may_freeze: bool) -> Option<Held> {
        let element = may_freeze.then(|| key.element()).flatten()?;
        Some(self.held(&element))
    }

    /// After the put: keeps the last good record of what froze, and no other.
    pub(super) fn keep(&mut self, key: &Key, was: Option<Held>) {
        if was.is_none() && self.kept.is_empty() {
            return;
        }
        let Some(element) = key.element() else {
            return;
        };
        let is_frozen = was.is_some() && self.held(&element) == Held::Frozen;
        match was {
            Some(Held::Value(value)) if is_frozen => {
                self.kept.insert(element, value);
            }
            _ if is_frozen => {}
            _ => {
                self.kept.remove(&element);
            }
        }
    }

    /// The last good records of frozen elements, as far as this table saw them:
    /// for a Redis that has lost them. An instance whose address has got
    /// another owner since is left out.
    pub fn kept(&self) -> Vec<Change> {
        let kept = self.kept.iter().filter(|(element, _)| {
            self.held(element) == Held::Frozen && !self.has_lost_address(element)
        });
        kept.map(|(element, value)| Change {
            element: element.clone(),
            value: Some(value.clone()),
        })
        .collect()
    }

    /// Takes over from an older table the last good records of what is frozen
    /// in this one.
    pub fn keep_from(&mut self, older: &Table) {
        let bad = self.bad.keys();
        let frozen = bad.filter_map(|key| Key::parse(key).ok()?.element());
        let all = self.shaping.are_bad().then(|| self.shaped_by_settings());
        let frozen = frozen.chain(all.into_iter().flatten());
        let kept: Vec<_> = frozen
            .filter(|element| {
                self.held(element) == Held::Frozen
                    && self.created(element) == older.created(element)
            })
            .filter_map(|element| match older.held(&element) {
                Held::Value(value) => Some((element, value)),
                Held::Frozen => older
                    .kept
                    .get(&element)
                    .cloned()
                    .map(|value| (element, value)),
                Held::Nothing => None,
            })
            .collect();
        self.kept.extend(kept);
    }

    /// The create revision of the key that an element comes from.
    fn created(&self, element: &Element) -> Option<Revision> {
        match element {
            Element::Route(host) => self.routes.get(host).map(|e| e.create_revision),
            element if element.is_defaults() => self.shaping.entry().map(|e| e.create_revision),
            Element::App(app) => {
                let policy = self.apps.get(app)?.policy.as_ref();
                policy.map(|e| e.create_revision)
            }
            Element::Instance(app, id) => {
                let instance = self.apps.get(app)?.instances.get(id);
                instance.map(|e| e.create_revision)
            }
        }
    }

    /// Whether the address that an instance was kept at belongs to another one,
    /// or is not allowed any more.
    fn has_lost_address(&self, element: &Element) -> bool {
        let (Element::Instance(..), Some(record)) = (element, self.kept.get(element)) else {
            return false;
        };
        let Some(addr) = Instance::address_of(record) else {
            return true;
        };
        self.owners
            .owner(addr)
            .is_some_and(|owner| owner != *element)
            || self.shaping.refusal(addr).is_some()
    }
}
