//! The settings in the table: what they let apps and instances be.

use std::borrow::Cow;
use std::sync::LazyLock;

use pointsman_model::{Address, Bad, Ceilings, HealthCheck, Policy, Settings};
use pointsman_store::Revision;

use super::Held;
use super::stored::Stored;

/// What holds where there are no settings.
static NONE: LazyLock<Settings> = LazyLock::new(Settings::default);

/// The settings of the registry, as they shape records.
#[derive(Debug, Default)]
pub(super) struct Shaping(pub(super) Option<Stored<Settings>>);

impl Shaping {
    pub(super) fn revision(&self) -> Option<Revision> {
        self.0.as_ref().map(|stored| stored.mod_revision)
    }

    pub(super) fn create_revision(&self) -> Option<Revision> {
        self.0.as_ref().map(|stored| stored.create_revision)
    }

    /// `None` while they are bad.
    pub(super) fn settings(&self) -> Option<Settings> {
        match &self.0 {
            None => Some(Settings::default()),
            Some(stored) => stored.value.clone(),
        }
    }

    pub(super) fn are_bad(&self) -> bool {
        self.0.as_ref().is_some_and(|stored| stored.value.is_none())
    }

    /// `None` while they are bad.
    fn good(&self) -> Option<&Settings> {
        match &self.0 {
            None => Some(&NONE),
            Some(stored) => stored.value.as_ref(),
        }
    }

    /// Whether they allow an address. Bad ones forbid nothing, but freeze all
    /// instances.
    pub(super) fn allow(&self, addr: Address) -> bool {
        self.good().is_none_or(|settings| settings.allows(addr))
    }

    /// Why they do not allow an address.
    pub(super) fn refusal(&self, addr: Address) -> Option<Bad> {
        self.good()?.check(addr).err()
    }

    /// What lies beneath each app's policy.
    pub(super) fn defaults(&self) -> Option<&Policy> {
        self.good()?.defaults.as_deref()
    }

    /// What policies as they hold follow from.
    pub(super) fn shapes(&self) -> (Option<&Policy>, Option<&Ceilings>) {
        let ceilings = self.good().and_then(|good| good.ceilings.as_deref());
        (self.defaults(), ceilings)
    }

    /// A policy as it holds: over the defaults, beneath the ceilings.
    pub(super) fn effective(&self, policy: &Policy) -> Policy {
        let good = self.good();
        good.map_or_else(|| policy.clone(), |settings| settings.effective(policy))
    }

    /// A health check as it holds: beneath the ceilings.
    pub(super) fn limited<'a>(&self, check: &'a HealthCheck) -> Cow<'a, HealthCheck> {
        match self.shapes() {
            (_, None) => Cow::Borrowed(check),
            (_, Some(ceilings)) => Cow::Owned(ceilings.limited(check)),
        }
    }

    /// What the element `app:*` is.
    pub(super) fn defaults_record(&self) -> Held {
        match &self.0 {
            None => Held::Nothing,
            Some(Stored { value: None, .. }) => Held::Frozen,
            Some(stored) => match self.effective(&Policy::default()) {
                none if none == Policy::default() => Held::Nothing,
                defaults => Held::Value(defaults.record(stored.mod_revision).into()),
            },
        }
    }
}
