//! The settings in the table: what they let apps and instances be.

use pointsman_model::{Address, Bad, Change, Element, Policy, Settings};

use super::touched::Touched;
use super::{App, Entry, Held, Table};

/// The settings of the registry, as they shape records.
#[derive(Debug, Default)]
pub(super) struct Shaping(Option<Entry<Settings>>);

impl Shaping {
    pub(super) fn entry(&self) -> Option<&Entry<Settings>> {
        self.0.as_ref()
    }

    /// `None` while they are bad.
    pub(super) fn settings(&self) -> Option<Settings> {
        match &self.0 {
            None => Some(Settings::default()),
            Some(entry) => entry.value.clone(),
        }
    }

    pub(super) fn are_bad(&self) -> bool {
        self.0.as_ref().is_some_and(|entry| entry.value.is_none())
    }

    fn good(&self) -> Option<&Settings> {
        self.0.as_ref()?.value.as_ref()
    }

    /// Why they do not allow an address. Bad ones forbid nothing, but freeze
    /// all instances.
    pub(super) fn refusal(&self, addr: Address) -> Option<Bad> {
        self.good()?.check(addr).err()
    }

    /// What lies beneath each app's policy.
    pub(super) fn defaults(&self) -> Option<&Policy> {
        self.good()?.defaults.as_deref()
    }

    pub(super) fn defaults_record(&self) -> Held {
        match &self.0 {
            None => Held::Nothing,
            Some(Entry { value: None, .. }) => Held::Frozen,
            Some(entry) => self.defaults().map_or(Held::Nothing, |defaults| {
                Held::Value(defaults.record(entry.mod_revision).into())
            }),
        }
    }
}

impl Table {
    /// Takes new settings, or none; what they shape is touched.
    pub(super) fn put_settings(
        &mut self,
        settings: Option<Entry<Settings>>,
        touched: &mut Touched,
    ) {
        let turns_bad = settings.as_ref().is_some_and(|entry| entry.value.is_none());
        // While the table is being loaded, there is nothing good to keep yet.
        if turns_bad && !self.shaping.are_bad() && self.revision > 0 {
            let frozen = self.shaped_by_settings();
            let kept = frozen.filter_map(|element| match self.held(&element) {
                Held::Value(value) => Some((element, value)),
                Held::Nothing | Held::Frozen => None,
            });
            let kept: Vec<_> = kept.collect();
            self.kept.extend(kept);
        }
        let were_bad = self.shaping.are_bad();
        let before = self.shaping.defaults().cloned();
        self.shaping.0 = settings;
        let known = !were_bad && !turns_bad;
        if !known || before.is_some() || self.shaping.defaults().is_some() {
            touched.insert(Element::defaults);
        }
        if !known || before.as_ref() != self.shaping.defaults() {
            let own = self.apps.iter().filter(|(_, app)| app.policy.is_some());
            touched.extend(own.map(|(app, _)| Element::App(app.clone())));
        }
        self.judge_instances(touched);
        if were_bad && !turns_bad {
            let kept = std::mem::take(&mut self.kept);
            let still = kept.into_iter();
            self.kept = still
                .filter(|(e, _)| self.held(e) == Held::Frozen)
                .collect();
        }
    }

    /// What bad settings freeze: the defaults, all policies, all instances.
    pub(super) fn shaped_by_settings(&self) -> impl Iterator<Item = Element> {
        let apps = self.apps.iter().flat_map(|(name, app)| {
            let own = app.policy.as_ref().map(|_| Element::App(name.clone()));
            let ids = app.instances.keys();
            own.into_iter()
                .chain(ids.map(|id| Element::Instance(name.clone(), id.clone())))
        });
        std::iter::once(Element::defaults()).chain(apps)
    }

    /// The policy over the defaults.
    pub(super) fn app_record(&self, app: &App) -> Held {
        let Some(entry) = &app.policy else {
            return Held::Nothing;
        };
        let Some(policy) = &entry.value else {
            return Held::Frozen;
        };
        if self.shaping.are_bad() {
            return Held::Frozen;
        }
        let record = match self.shaping.defaults() {
            None => policy.record(entry.mod_revision),
            Some(defaults) => policy.over(defaults).record(entry.mod_revision),
        };
        Held::Value(record.into())
    }

    /// The element `app:*`, where it has a value.
    pub(super) fn defaults_change(&self) -> Option<Change> {
        self.change(Element::defaults())
            .filter(|change| change.value.is_some())
    }
}
