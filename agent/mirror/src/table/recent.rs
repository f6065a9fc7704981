//! What changed lately: enough to bring a Redis that lagged a little up to
//! date, and to know which of two readings at different revisions may differ.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use pointsman_model::Element;
use pointsman_store::Revision;
use tokio::time::Instant;

/// How long a name is kept, and how many of them at the most.
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 200_000;
/// The most names that [`Recent::since`] returns: the table is held meanwhile.
const TOLD: usize = 20_000;

/// The elements touched by the last revisions, without gaps since `from`.
#[derive(Debug, Default)]
pub(super) struct Recent {
    from: Revision,
    revisions: VecDeque<TouchedBy>,
    names: usize,
}

/// What a revision touched.
#[derive(Debug)]
pub(super) struct TouchedBy {
    revision: Revision,
    at: Instant,
    elements: Arc<[Element]>,
}

impl Recent {
    /// Forgets all; from here on nothing is missed.
    pub(super) fn begin(&mut self, revision: Revision) {
        *self = Self {
            from: revision,
            ..Self::default()
        };
    }

    /// Adds what a revision touched. Answers what is forgotten, to be dropped
    /// when the table is held no longer.
    pub(super) fn push(&mut self, revision: Revision, elements: Arc<[Element]>) -> Vec<TouchedBy> {
        let at = Instant::now();
        self.names += elements.len();
        if !elements.is_empty() {
            self.revisions.push_back(TouchedBy {
                revision,
                at,
                elements,
            });
        }
        let mut left = self.names;
        let forgotten = self.revisions.iter().take_while(|oldest| {
            let forget = oldest.at + KEPT <= at || left > MOST;
            left -= if forget { oldest.elements.len() } else { 0 };
            forget
        });
        let forgotten: Vec<_> = self.revisions.drain(..forgotten.count()).collect();
        self.names = left;
        if let Some(last) = forgotten.last() {
            self.from = self.from.max(last.revision);
        }
        forgotten
    }

    pub(super) fn since(&self, revision: Revision) -> Option<BTreeSet<&Element>> {
        let later = || {
            let latest = self.revisions.iter().rev();
            latest.take_while(|touched| touched.revision > revision)
        };
        let names = later().map(|touched| touched.elements.len()).sum::<usize>();
        if revision < self.from || names > TOLD {
            return None;
        }
        Some(later().flat_map(|touched| &*touched.elements).collect())
    }
}
