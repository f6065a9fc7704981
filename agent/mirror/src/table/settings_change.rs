//! A change of the settings, judged before it is made: all instances have to be
//! looked at, and readers do not wait for the table meanwhile.

use std::collections::BTreeSet;

use pointsman_model::{Bad, Element, Settings};
use pointsman_store::Event;

use super::apps::App;
use super::derivation::{Derivation, Verdict};
use super::frozen::Frozen;
use super::index::TableIndex;
use super::settings::Shaping;
use super::stored::Stored;
use super::{Held, Table};

/// New settings, and what the table becomes under them.
#[derive(Debug)]
pub(crate) struct SettingsChange {
    shaping: Shaping,
    bad: Option<Bad>,
    index: TableIndex,
    /// `None`: as it was.
    frozen: Option<Frozen>,
    touched: BTreeSet<Element>,
}

impl SettingsChange {
    /// What the event that sets the settings changes in the table, if there is
    /// one among these.
    pub(super) fn among(events: &[Event], table: &Table) -> Option<Self> {
        let event = events.iter().rev().find(|event| is_settings(event))?;
        let kv = match event {
            Event::Put(kv) => Some(kv),
            Event::Delete { .. } => None,
        };
        let (stored, bad) = Stored::read(kv, Settings::from_value);
        let shaping = Shaping(stored);
        let before = table.derivation();
        let after = Derivation {
            shaping: &shaping,
            ..before
        };
        let thaws_or_freezes = before.shaping.are_bad() != shaping.are_bad();
        let mut frozen = thaws_or_freezes.then(|| table.frozen.clone());
        // In their order, so the set is built at once.
        let mut touched = Vec::new();
        let mut touch = |element: Element, was: Option<Held>, is_frozen: bool| {
            if let Some(frozen) = &mut frozen {
                frozen.note(&element, was, is_frozen);
            }
            touched.push(element);
        };
        let mut compare = |element: Element, [was, becomes]: [Held; 2]| {
            if was != becomes {
                touch(element, Some(was), becomes == Held::Frozen);
            }
        };
        let both = [before, after];
        compare(
            Element::defaults(),
            both.map(|derivation| derivation.shaping.defaults_record()),
        );
        if thaws_or_freezes || before.shaping.shapes() != shaping.shapes() {
            for (name, app) in before.apps.range(super::behind(None)) {
                if thaws_or_freezes || merges_differently(app, before, after) {
                    let policies = both.map(|derivation| derivation.policy(app));
                    compare(Element::App(name.clone()), policies);
                }
            }
        }
        let mut index = TableIndex::contested(before.apps, &shaping);
        for member in before.apps.members(None) {
            let [was, becomes] = both.map(|derivation| derivation.verdict(member));
            index.add(after, member, becomes);
            if was != becomes {
                // Only what freezes needs the text that it had.
                let is_frozen = becomes == Verdict::Frozen;
                let was = is_frozen.then(|| before.instance(member));
                touch(member.element(), was, is_frozen);
            }
        }
        Some(Self {
            shaping,
            bad,
            index,
            frozen,
            touched: touched.into_iter().collect(),
        })
    }

    /// Makes the change. What the table had before is dropped with `self`, when
    /// the table is held no longer.
    pub(super) fn make(&mut self, table: &mut Table) -> BTreeSet<Element> {
        std::mem::swap(&mut table.shaping, &mut self.shaping);
        std::mem::swap(&mut table.index, &mut self.index);
        if let Some(frozen) = &mut self.frozen {
            std::mem::swap(&mut table.frozen, frozen);
        }
        table.set_bad("settings", self.bad.take());
        std::mem::take(&mut self.touched)
    }
}

pub(super) fn is_settings(event: &Event) -> bool {
    let (Event::Put(pointsman_store::KeyValue { key, .. }) | Event::Delete { key, .. }) = event;
    key == "settings"
}

/// Whether a policy over the defaults is another one; that is not quite whether
/// its record is.
fn merges_differently(app: &App, before: Derivation<'_>, after: Derivation<'_>) -> bool {
    let Some(policy) = app.policy.as_ref().and_then(|stored| stored.value.as_ref()) else {
        return false;
    };
    before.shaping.effective(policy) != after.shaping.effective(policy)
}
