//! The elements that a change touches.

use std::collections::BTreeSet;

use pointsman_model::Element;

/// What was touched so far. It is not recorded while the table is loaded.
#[derive(Debug)]
pub(super) enum Touched {
    /// Not recorded.
    Unrecorded,
    /// These elements.
    These(BTreeSet<Element>),
}

impl Touched {
    pub(super) fn insert(&mut self, element: impl FnOnce() -> Element) {
        if let Self::These(elements) = self {
            elements.insert(element());
        }
    }

    pub(super) fn instance(&mut self, app: &str, id: &str) {
        self.insert(|| Element::Instance(app.into(), id.into()));
    }

    pub(super) fn extend(&mut self, more: impl IntoIterator<Item = Element>) {
        if let Self::These(elements) = self {
            elements.extend(more);
        }
    }

    pub(super) fn into_set(self) -> BTreeSet<Element> {
        match self {
            Self::Unrecorded => BTreeSet::new(),
            Self::These(elements) => elements,
        }
    }
}
