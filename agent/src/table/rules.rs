//! A route as the table keeps it: as text, since there are many of them.

use crate::model::Route;

/// A host's rules, as the record has them and as the API shows them: for most
/// routes that is the same.
#[derive(Debug)]
pub(super) struct Rules {
    record: Box<str>,
    shown: Option<Box<str>>,
}

impl Rules {
    pub(super) fn of(route: &Route) -> Self {
        let (record, shown) = (route.record_rules(), route.rules_json());
        Self {
            shown: (shown != record).then(|| shown.into()),
            record: record.into(),
        }
    }

    pub(super) fn record(&self) -> &str {
        &self.record
    }

    pub(super) fn shown(&self) -> &str {
        self.shown.as_deref().unwrap_or(&self.record)
    }
}
