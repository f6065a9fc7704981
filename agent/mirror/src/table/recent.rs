//! What changed lately: enough to bring a Redis that lagged a little up to
//! date, and to know which of two readings at different revisions may differ.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use pointsman_model::Element;
use pointsman_store::Revision;
use tokio::time::Instant;

/// How long a name is kept, and how many of them at the most.
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 200_000;

/// The elements touched by the last revisions, without gaps since `from`.
#[derive(Debug, Default)]
pub(super) struct Recent {
    from: Revision,
    entries: VecDeque<Entry>,
    names: usize,
}

#[derive(Debug)]
struct Entry {
    revision: Revision,
    at: Instant,
    touched: Box<[Element]>,
}

impl Recent {
    /// Forgets all; from here on nothing is missed.
    pub(super) fn begin(&mut self, revision: Revision) {
        *self = Self {
            from: revision,
            ..Self::default()
        };
    }

    pub(super) fn push(&mut self, revision: Revision, touched: BTreeSet<Element>) {
        let at = Instant::now();
        self.names += touched.len();
        if !touched.is_empty() {
            self.entries.push_back(Entry {
                revision,
                at,
                touched: touched.into_iter().collect(),
            });
        }
        while let Some(oldest) = self.entries.front() {
            if oldest.at + KEPT > at && self.names <= MOST {
                break;
            }
            self.from = self.from.max(oldest.revision);
            self.names -= oldest.touched.len();
            self.entries.pop_front();
        }
    }

    pub(super) fn since(&self, revision: Revision) -> Option<BTreeSet<&Element>> {
        if revision < self.from {
            return None;
        }
        let later = self
            .entries
            .iter()
            .rev()
            .take_while(|entry| entry.revision > revision);
        Some(later.flat_map(|entry| &entry.touched).collect())
    }
}
