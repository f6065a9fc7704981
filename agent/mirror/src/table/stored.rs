//! A key's value as the table stores it.

use pointsman_model::Bad;
use pointsman_store::{KeyValue, Revision};

/// What stands under a key whose name is canonical. `value` is `None` while the
/// value is bad.
#[derive(Clone, Debug)]
pub(super) struct Stored<T> {
    pub(super) create_revision: Revision,
    pub(super) mod_revision: Revision,
    pub(super) value: Option<T>,
}

impl<T> Stored<T> {
    /// Reads the value of a key, if the key is there; and why it is bad.
    pub(super) fn read(
        kv: Option<&KeyValue>,
        read: impl FnOnce(&[u8]) -> Result<T, Bad>,
    ) -> (Option<Self>, Option<Bad>) {
        let Some(kv) = kv else {
            return (None, None);
        };
        let (value, bad) = match read(&kv.value) {
            Ok(value) => (Some(value), None),
            Err(bad) => (None, Some(bad)),
        };
        let stored = Self {
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            value,
        };
        (Some(stored), bad)
    }
}
