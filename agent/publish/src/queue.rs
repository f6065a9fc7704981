//! Changes that wait for Redis, and how they become batches.
//!
//! A batch is one script, and Redis answers nobody else while it runs. So a
//! revision that is too large for one, and all that waits while Redis is away
//! for long, is not kept as batches: only the names of what changed are, and
//! `rebuild` writes them in pieces.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pointsman_model::{Change, Element};
use pointsman_store::Revision;
use tokio::time::Instant;

use crate::sink::Batch;

#[cfg(test)]
mod tests;

/// About what a name takes in a set, beside its text.
const NAME_BYTES: usize = 64;

/// So many changes of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// How many changes.
    pub changes: usize,
    /// How many bytes they have on the wire.
    pub bytes: usize,
}

/// How much Redis is sent at once, and how much may wait for it.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// The most in a batch of several revisions.
    pub batch: Size,
    /// The most of one revision in a batch. A larger one is written in pieces.
    pub revision: Size,
    /// The most in a piece.
    pub piece: Size,
    /// Memory of the changes that wait, in bytes.
    pub waiting: usize,
    /// Memory of the names that wait instead of changes, in bytes.
    pub names: usize,
}

impl Default for QueueLimits {
    /// Redis takes 4 µs for a change in a batch, and half of that in a piece.
    fn default() -> Self {
        let size = |changes, bytes| Size { changes, bytes };
        Self {
            batch: size(500, 256 << 10),
            revision: size(5_000, 2 << 20),
            piece: size(200, 256 << 10),
            waiting: 64 << 20,
            names: 256 << 20,
        }
    }
}

impl Size {
    fn add(&mut self, change: &Change) {
        self.changes += 1;
        self.bytes += change.size();
    }

    fn of(changes: &[Change]) -> Self {
        let mut size = Self {
            changes: 0,
            bytes: 0,
        };
        changes.iter().for_each(|change| size.add(change));
        size
    }

    fn exceeds(self, limit: Self) -> bool {
        self.changes > limit.changes || self.bytes > limit.bytes
    }

    /// The next of these changes, until this size is reached. One always fits.
    pub(super) fn take(self, changes: impl Iterator<Item = Change>) -> Vec<Change> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for change in changes {
            bytes += change.size();
            taken.push(change);
            if taken.len() >= self.changes || bytes >= self.bytes {
                break;
            }
        }
        taken
    }
}

/// The queue. It hands out batches that follow on one another.
#[derive(Debug)]
pub(super) struct Queue {
    epoch: String,
    limits: QueueLimits,
    /// Redis is, or will be once the batch handed out is in, at this revision.
    at: Revision,
    groups: VecDeque<Group>,
    waiting: usize,
    /// Memory of the groups.
    bytes: usize,
    /// Elements to put right while nothing else changes.
    repairs: BTreeMap<Element, Option<Box<str>>>,
    /// What waits in place of groups, once it is too much for batches.
    bulk: Option<Bulk>,
}

#[derive(Debug)]
struct Group {
    revision: Revision,
    changes: Vec<Change>,
    since: Instant,
}

impl Group {
    fn memory(&self) -> usize {
        let changes = self.changes.iter();
        let changes = changes.map(|change| size_of::<Change>() + change.size());
        size_of::<Self>() + changes.sum::<usize>()
    }
}

/// A batch, and since when its oldest and youngest change are known.
#[derive(Clone, Debug)]
pub(super) struct Parcel {
    pub(super) batch: Batch,
    pub(super) since: Vec<Instant>,
}

/// What changed after one revision and up to another, by name.
#[derive(Debug)]
pub(super) struct Bulk {
    from: Revision,
    to: Revision,
    /// None: too many to be named.
    names: Option<BTreeSet<Element>>,
    bytes: usize,
    most: usize,
}

impl Bulk {
    fn new(from: Revision, limits: &QueueLimits) -> Self {
        Self {
            from,
            to: from,
            names: Some(BTreeSet::new()),
            bytes: 0,
            most: limits.names,
        }
    }

    /// Adds what a revision changes.
    pub(super) fn add(&mut self, revision: Revision, names: impl IntoIterator<Item = Element>) {
        self.to = self.to.max(revision);
        let Some(all) = &mut self.names else {
            return;
        };
        for name in names {
            let bytes = name.redis_key().len() + name.field().map_or(0, str::len);
            if all.insert(name) {
                self.bytes += size_of::<Element>() + NAME_BYTES + bytes;
            }
        }
        if self.bytes > self.most {
            self.names = None;
        }
    }

    /// Redis must hold at least this revision.
    pub(super) fn from(&self) -> Revision {
        self.from
    }

    /// Whether a Redis at this revision lacks no more than what is named.
    pub(super) fn covers(&self, at: Revision) -> bool {
        (self.from..self.to).contains(&at)
    }

    /// What changed, unless that is too much to be named.
    pub(super) fn all(&self) -> Option<&BTreeSet<Element>> {
        self.names.as_ref()
    }

    /// Whether this element changed, as far as is known.
    pub(super) fn names(&self, element: &Element) -> bool {
        self.names.as_ref().is_some_and(|all| all.contains(element))
    }
}

impl Queue {
    pub(super) fn new(epoch: &str, at: Revision, limits: QueueLimits) -> Self {
        Self {
            epoch: epoch.to_owned(),
            limits,
            at,
            groups: VecDeque::new(),
            waiting: 0,
            bytes: 0,
            repairs: BTreeMap::new(),
            bulk: None,
        }
    }

    pub(super) fn epoch(&self) -> &str {
        &self.epoch
    }

    pub(super) fn at(&self) -> Revision {
        self.at
    }

    pub(super) fn waiting(&self) -> usize {
        match &self.bulk {
            Some(bulk) => bulk.all().map_or(0, BTreeSet::len),
            None => self.waiting,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.repairs.is_empty() && self.bulk.is_none()
    }

    /// Adds what a revision changes; may be nothing, the revision still counts.
    pub(super) fn push(&mut self, revision: Revision, changes: Vec<Change>) {
        if revision <= self.at {
            return;
        }
        if self.bulk.is_some() {
            let names = changes.into_iter().map(|change| change.element);
            return self.push_names(revision, names);
        }
        let too_large = Size::of(&changes).exceeds(self.limits.revision);
        let group = Group {
            revision,
            changes,
            since: Instant::now(),
        };
        self.waiting += group.changes.len();
        self.bytes += group.memory();
        self.groups.push_back(group);
        if too_large || self.bytes > self.limits.waiting {
            self.bulk();
        }
    }

    /// Adds what a revision changes, by name: from here on nothing is handed
    /// out as a batch.
    pub(super) fn push_names(
        &mut self,
        revision: Revision,
        names: impl IntoIterator<Item = Element>,
    ) {
        self.bulk().add(revision, names);
    }

    /// What waits, by name.
    fn bulk(&mut self) -> &mut Bulk {
        let groups = std::mem::take(&mut self.groups);
        (self.waiting, self.bytes) = (0, 0);
        // The next pass finds them again.
        self.repairs.clear();
        let bulk = self
            .bulk
            .get_or_insert_with(|| Bulk::new(self.at, &self.limits));
        for group in groups {
            let names = group.changes.into_iter().map(|change| change.element);
            bulk.add(group.revision, names);
        }
        bulk
    }

    /// Whether what waits is too much for batches.
    pub(super) fn is_bulk(&self) -> bool {
        self.bulk.is_some()
    }

    /// Takes out what waits by name, if that is how it waits.
    pub(super) fn take_bulk(&mut self) -> Option<Bulk> {
        self.bulk.take()
    }

    /// The queue for a Redis at `at`, with what waits by name; nothing if that
    /// is not all that it lacks, or if it lacks nothing of it.
    pub(super) fn with_bulk(mut self, bulk: Bulk) -> Option<Self> {
        let covers = bulk.covers(self.at);
        self.bulk = Some(bulk);
        covers.then_some(self)
    }

    /// Adds elements to put right, as they are at `revision`, which is the
    /// table's: they go with the next batch, or alone if nothing waits.
    pub(super) fn repair(&mut self, revision: Revision, changes: Vec<Change>) {
        if self.bulk.is_some() {
            let names = changes.into_iter().map(|change| change.element);
            self.push_names(revision, names);
        } else if let Some(last) = self.groups.back_mut() {
            self.bytes -= last.memory();
            self.waiting += changes.len();
            last.changes.extend(changes);
            self.bytes += last.memory();
            if self.bytes > self.limits.waiting {
                self.bulk();
            }
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
            self.pop();
        }
        self.bulk.take_if(|bulk| bulk.to <= revision);
        if revision > self.at {
            // They speak of an older revision; the next pass finds them again.
            self.repairs.clear();
            self.at = revision;
        }
    }

    fn pop(&mut self) -> Option<Group> {
        let group = self.groups.pop_front()?;
        self.waiting -= group.changes.len();
        self.bytes -= group.memory();
        Some(group)
    }

    /// The next batch: whole revisions, as many as fit, the last value of each
    /// element. One revision alone fits: a larger one waits by name.
    pub(super) fn take(&mut self) -> Option<Parcel> {
        let repairs = self.take_repairs();
        let repair = !repairs.is_empty();
        let mut size = Size::of(&repairs);
        let pairs = |changes: Vec<Change>| changes.into_iter().map(|c| (c.element, c.value));
        let mut merged: BTreeMap<_, _> = pairs(repairs).collect();
        let (from, mut to) = (self.at, self.at);
        let mut since = Vec::new();
        while let Some(group) = self.groups.front() {
            group.changes.iter().for_each(|change| size.add(change));
            if to > from && size.exceeds(self.limits.batch) {
                break;
            }
            let Some(group) = self.pop() else {
                break;
            };
            to = group.revision;
            since.push(group.since);
            merged.extend(pairs(group.changes));
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
    fn take_repairs(&mut self) -> Vec<Change> {
        let limit = self.limits.batch;
        let repairs = std::iter::from_fn(|| self.repairs.pop_first());
        limit.take(repairs.map(|(element, value)| Change { element, value }))
    }
}
