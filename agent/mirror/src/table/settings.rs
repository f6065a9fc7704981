//! The settings in the table: what they let apps and instances be.

use pointsman_model::{Address, Bad, Policy, Settings};
use pointsman_store::Revision;

use super::Held;
use super::stored::Stored;

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

    fn good(&self) -> Option<&Settings> {
        self.0.as_ref()?.value.as_ref()
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

    /// What the element `app:*` is.
    pub(super) fn defaults_record(&self) -> Held {
        match &self.0 {
            None => Held::Nothing,
            Some(Stored { value: None, .. }) => Held::Frozen,
            Some(stored) => self.defaults().map_or(Held::Nothing, |defaults| {
                Held::Value(defaults.record(stored.mod_revision).into())
            }),
        }
    }
}
