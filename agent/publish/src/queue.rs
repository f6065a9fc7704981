//! Changes that wait for Redis, and how they become batches.

use std::collections::{BTreeMap, VecDeque};

use pointsman_model::{Change, Element};
use pointsman_store::Revision;
use tokio::time::Instant;

use crate::sink::Batch;

/// A script blocks Redis while it runs: 10,000 records take 36 ms.
const MOST_CHANGES: usize = 500;
const MOST_BYTES: usize = 256 << 10;
/// Beyond this the queue is given up: a fresh look costs less memory.
const MOST_WAITING: usize = 500_000;

/// The queue. It hands out batches that follow on one another.
#[derive(Debug)]
pub(super) struct Queue {
    epoch: String,
    /// Redis is, or will be once the batch handed out is in, at this revision.
    at: Revision,
    groups: VecDeque<Group>,
    waiting: usize,
    /// Elements to put right while nothing else changes.
    repairs: BTreeMap<Element, Option<Box<str>>>,
}

#[derive(Debug)]
struct Group {
    revision: Revision,
    changes: Vec<Change>,
    since: Instant,
}

/// A batch, and since when its oldest and youngest change are known.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) batch: Batch,
    pub(super) since: Vec<Instant>,
}

impl Queue {
    pub(super) fn new(epoch: &str, at: Revision) -> Self {
        Self {
            epoch: epoch.to_owned(),
            at,
            groups: VecDeque::new(),
            waiting: 0,
            repairs: BTreeMap::new(),
        }
    }

    pub(super) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(super) fn at(&self) -> Revision {
        self.at
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.repairs.is_empty()
    }

    pub(super) fn is_overfull(&self) -> bool {
        self.waiting > MOST_WAITING
    }

    /// Adds what a revision changes; may be nothing, the revision still counts.
    pub(super) fn push(&mut self, revision: Revision, changes: Vec<Change>) {
        if revision > self.at {
            self.waiting += changes.len();
            self.groups.push_back(Group {
                revision,
                changes,
                since: Instant::now(),
            });
        }
    }

    /// Adds elements to put right, as they are at `revision`, which is the
    /// table's: they go with the next batch, or alone if nothing waits.
    pub(super) fn repair(&mut self, revision: Revision, changes: Vec<Change>) {
        if let Some(last) = self.groups.back_mut() {
            self.waiting += changes.len();
            last.changes.extend(changes);
        } else if revision == self.at {
            self.repairs
                .extend(changes.into_iter().map(|c| (c.element, c.value)));
        }
    }

    /// Redis is known to be at `revision`: what led there is done with.
    pub(super) fn reached(&mut self, revision: Revision) {
        while let Some(group) = self.groups.front() {
            if group.revision > revision {
                break;
            }
            self.waiting -= group.changes.len();
            self.groups.pop_front();
        }
        if revision > self.at {
            // They speak of an older revision; the next pass finds them again.
            self.repairs.clear();
            self.at = revision;
        }
    }

    /// The next batch: whole revisions, as many as fit, the last value of each
    /// element. One revision alone always fits.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        let mut merged = self.take_repairs();
        let repair = !merged.is_empty();
        let (from, mut to) = (self.at, self.at);
        let (mut count, mut bytes) = (merged.len(), 0);
        let mut since = Vec::new();
        while let Some(group) = self.groups.front() {
            count += group.changes.len();
            bytes += group.changes.iter().map(Change::size).sum::<usize>();
            if to > from && (count > MOST_CHANGES || bytes > MOST_BYTES) {
                break;
            }
            let Some(group) = self.groups.pop_front() else {
                break;
            };
            self.waiting -= group.changes.len();
            to = group.revision;
            since.push(group.since);
            merged.extend(
                group
                    .changes
                    .into_iter()
                    .map(|change| (change.element, change.value)),
            );
        }
        if to == from && !repair {
            return None;
        }
        self.at = to;
        let changes = merged
            .into_iter()
            .map(|(element, value)| Change { element, value })
            .collect();
        let batch = Batch {
            epoch: self.epoch.clone(),
            from,
            to,
            changes,
        };
        Some(Parcel { batch, since })
    }

    /// As many repairs as fit into a batch.
    fn take_repairs(&mut self) -> BTreeMap<Element, Option<Box<str>>> {
        let fit = self.repairs.keys().nth(MOST_CHANGES).cloned();
        let rest = fit.map_or_else(BTreeMap::new, |first| self.repairs.split_off(&first));
        std::mem::replace(&mut self.repairs, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(host: &str, value: &str) -> Change {
        Change {
            element: Element::Route(host.into()),
            value: Some(value.into()),
        }
    }

    #[test]
    fn merges_revisions_and_keeps_the_last_value() {
        let mut queue = Queue::new("e", 10);
        queue.push(11, vec![change("a", "1"), change("b", "1")]);
        queue.push(14, vec![change("a", "2")]);
        queue.push(15, Vec::new());
        let Batch {
            from, to, changes, ..
        } = queue.take().unwrap().batch;
        assert_eq!((from, to), (10, 15));
        assert_eq!(changes, [change("a", "2"), change("b", "1")]);
        assert!(queue.take().is_none());
        assert_eq!((queue.at(), queue.waiting()), (15, 0));
    }

    #[test]
    fn splits_only_between_revisions() {
        let mut queue = Queue::new("e", 0);
        let many = |n: usize| {
            (0..n)
                .map(|i| change(&format!("h{i}"), "v"))
                .collect::<Vec<_>>()
        };
        queue.push(1, many(400));
        queue.push(2, many(200));
        queue.push(3, many(900));
        queue.push(4, many(1));
        let sizes: Vec<_> = std::iter::from_fn(|| queue.take())
            .map(|p| (p.batch.from, p.batch.to, p.batch.changes.len()))
            .collect();
        assert_eq!(sizes, [(0, 1, 400), (1, 2, 200), (2, 3, 900), (3, 4, 1)]);
    }

    #[test]
    fn splits_by_bytes() {
        let mut queue = Queue::new("e", 0);
        let large = "x".repeat(200 << 10);
        queue.push(1, vec![change("a", &large)]);
        queue.push(2, vec![change("b", &large)]);
        assert_eq!(queue.take().unwrap().batch.to, 1);
        assert_eq!(queue.take().unwrap().batch.to, 2);
    }

    #[test]
    fn forgets_what_another_agent_has_brought() {
        let mut queue = Queue::new("e", 5);
        queue.push(6, vec![change("a", "1")]);
        queue.push(7, vec![change("b", "1")]);
        queue.reached(6);
        queue.push(6, vec![change("a", "1")]);
        let batch = queue.take().unwrap().batch;
        assert_eq!((batch.from, batch.to), (6, 7));
        queue.reached(9);
        queue.push(8, vec![change("c", "1")]);
        assert!(queue.is_empty());
        assert_eq!((queue.at(), queue.waiting()), (9, 0));
    }
}
