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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    fn queue(at: Revision) -> Queue {
        Queue::new("e", at, QueueLimits::default())
    }

    fn change(host: &str, value: &str) -> Change {
        Change {
            element: Element::Route(host.into()),
            value: Some(value.into()),
        }
    }

    #[test]
    fn merges_revisions_and_keeps_the_last_value() {
        let mut queue = queue(10);
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

    fn many(n: usize) -> Vec<Change> {
        (0..n).map(|i| change(&format!("h{i}"), "v")).collect()
    }

    #[test]
    fn splits_only_between_revisions() {
        let mut queue = queue(0);
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
    fn a_revision_that_is_too_large_waits_by_name_with_all_that_follows() {
        let by_bytes = vec![change("x", &"x".repeat(3 << 20))];
        for (large, count) in [(many(5_001), 5_001), (by_bytes, 1)] {
            let mut queue = queue(7);
            queue.push(8, vec![change("h1", "v"), change("before", "v")]);
            queue.push(9, large);
            queue.push(10, vec![change("after", "v")]);
            assert!(queue.take().is_none());
            let more = if count == 1 { 3 } else { 2 };
            assert_eq!((queue.at(), queue.waiting()), (7, count + more));
            assert!(!queue.is_empty());
            let bulk = queue.take_bulk().unwrap();
            assert_eq!((bulk.from, bulk.to), (7, 10));
            let names = bulk.all().unwrap();
            assert_eq!(names.len(), count + more);
            assert!(bulk.names(&Element::Route("after".into())));
        }
    }

    #[test]
    fn what_waits_is_bounded_by_bytes_and_in_the_end_not_even_named() {
        let limits = QueueLimits {
            waiting: 10_000,
            names: 20_000,
            ..QueueLimits::default()
        };
        let mut queue = Queue::new("e", 0, limits);
        let mut revision = 0;
        while queue.bulk.is_none() {
            revision += 1;
            queue.push(revision, vec![change(&format!("h{revision}"), "v")]);
            assert!(queue.bytes <= limits.waiting);
        }
        assert!(revision > 30, "{revision} changes are not 10,000 bytes");
        while queue.bulk.as_ref().is_some_and(|bulk| bulk.all().is_some()) {
            revision += 1;
            queue.push(revision, vec![change(&format!("h{revision}"), "v")]);
            assert!(queue.bulk.as_ref().unwrap().bytes <= limits.names + 200);
        }
        let bulk = queue.take_bulk().unwrap();
        assert!(!bulk.names(&Element::Route("h1".into())));
        assert!(bulk.covers(0) && bulk.covers(revision - 1) && !bulk.covers(revision));
    }

    #[test]
    fn names_wait_for_a_redis_that_lacks_no_more_than_them() {
        let bulk = || {
            let mut queue = queue(5);
            queue.push_names(9, [Element::Route("a".into())]);
            queue.take_bulk().unwrap()
        };
        assert!(queue(4).with_bulk(bulk()).is_none());
        assert!(queue(5).with_bulk(bulk()).is_some());
        assert!(queue(8).with_bulk(bulk()).is_some());
        assert!(queue(9).with_bulk(bulk()).is_none());
        let mut done = queue(5).with_bulk(bulk()).unwrap();
        done.reached(8);
        assert!(!done.is_empty());
        done.reached(9);
        assert!(done.is_empty());
    }

    #[test]
    fn repairs_go_alone_or_with_what_waits_and_not_all_at_once() {
        let mut queue = queue(5);
        let spoilt: Vec<_> = (0..501).map(|i| change(&format!("h{i:03}"), "v")).collect();
        queue.repair(4, spoilt.clone());
        assert!(queue.is_empty(), "they speak of another revision");
        queue.repair(5, spoilt.clone());
        let batch = queue.take().unwrap().batch;
        assert_eq!((batch.from, batch.to, batch.changes.len()), (5, 5, 500));
        queue.push(6, vec![change("h500", "w")]);
        let batch = queue.take().unwrap().batch;
        assert_eq!((batch.from, batch.to), (5, 6));
        assert_eq!(batch.changes, [change("h500", "w")]);
        queue.push(7, Vec::new());
        queue.repair(7, vec![change("a", "1")]);
        assert_eq!(queue.waiting(), 1);
        let batch = queue.take().unwrap().batch;
        assert_eq!((batch.to, batch.changes), (7, vec![change("a", "1")]));
        let large = "x".repeat(200 << 10);
        queue.repair(
            7,
            vec![change("a", &large), change("b", &large), change("c", "")],
        );
        assert_eq!(queue.take().unwrap().batch.changes.len(), 2);
        assert_eq!(queue.take().unwrap().batch.changes.len(), 1);
        assert!(queue.is_empty() && queue.bytes == 0);
    }

    #[test]
    fn splits_by_bytes() {
        let mut queue = queue(0);
        let large = "x".repeat(200 << 10);
        queue.push(1, vec![change("a", &large)]);
        queue.push(2, vec![change("b", &large)]);
        assert_eq!(queue.take().unwrap().batch.to, 1);
        assert_eq!(queue.take().unwrap().batch.to, 2);
    }

    #[test]
    fn forgets_what_another_agent_has_brought() {
        let mut queue = queue(5);
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

    /// What happens to a queue.
    #[derive(Clone, Debug)]
    enum Op {
        /// A revision, so many behind the last one, changes these elements.
        Push(i64, Vec<(u8, Option<u8>)>),
        /// The next batch goes to Redis.
        Take,
        /// Another agent brings Redis on; whether the queue is told.
        Other(usize, bool),
        /// Somebody spoils an element, and the reconciler finds it.
        Spoil(u8),
    }

    type Records = BTreeMap<Element, Option<Box<str>>>;

    /// A registry, and a Redis that the queue brings up to it.
    struct Model {
        queue: Queue,
        /// What each revision makes of the records.
        history: BTreeMap<Revision, Records>,
        redis: (Revision, Records),
        spoilt: BTreeSet<Element>,
    }

    fn of(element: u8, value: Option<u8>) -> Change {
        Change {
            element: Element::Route(format!("h{element}").into()),
            value: value.map(|v| v.to_string().into()),
        }
    }

    fn put(records: &mut Records, changes: impl IntoIterator<Item = Change>) {
        records.extend(changes.into_iter().map(|c| (c.element, c.value)));
    }

    impl Model {
        fn last(&self) -> (Revision, &Records) {
            let (revision, records) = self.history.last_key_value().unwrap();
            (*revision, records)
        }

        fn run(&mut self, op: &Op) {
            match op {
                Op::Push(by, changes) => {
                    let changes: Vec<_> = changes.iter().map(|(e, v)| of(*e, *v)).collect();
                    let (last, records) = self.last();
                    let (revision, mut records) = (last + by, records.clone());
                    put(&mut records, changes.clone());
                    self.history.insert(revision, records);
                    self.queue.push(revision, changes);
                }
                Op::Take => {
                    let taken = self.queue.take();
                    taken.into_iter().for_each(|parcel| self.send(parcel.batch));
                }
                Op::Other(steps, told) => {
                    let ahead = self.history.range(self.redis.0..).nth(*steps);
                    if let Some((revision, records)) = ahead {
                        if *revision > self.redis.0 {
                            self.spoilt.clear();
                            self.redis = (*revision, records.clone());
                        }
                        if *told {
                            self.queue.reached(self.redis.0);
                        }
                    }
                }
                Op::Spoil(element) => {
                    let (last, records) = self.last();
                    let mut change = of(*element, None);
                    change.value = records.get(&change.element).cloned().flatten();
                    self.redis
                        .1
                        .insert(change.element.clone(), Some("spoilt".into()));
                    self.spoilt.insert(change.element.clone());
                    self.queue.repair(last, vec![change]);
                }
            }
            let waiting: usize = self.queue.groups.iter().map(|g| g.changes.len()).sum();
            let bytes: usize = self.queue.groups.iter().map(Group::memory).sum();
            assert_eq!((self.queue.waiting, self.queue.bytes), (waiting, bytes));
            let limits = self.queue.limits;
            assert!(bytes <= limits.waiting, "{bytes} bytes wait");
        }

        /// The fence: see `batch.lua`.
        fn send(&mut self, batch: Batch) {
            assert_eq!(self.queue.at(), batch.to);
            let (rev, records) = &mut self.redis;
            let repair = batch.from == batch.to;
            if *rev > batch.to || *rev == batch.to && !repair {
                let rev = *rev;
                return self.queue.reached(rev);
            }
            assert!(batch.from <= *rev, "a gap before {batch:?} at {rev}");
            for change in &batch.changes {
                self.spoilt.remove(&change.element);
            }
            put(records, batch.changes);
            *rev = batch.to;
            self.agrees(batch.to);
        }

        /// Redis holds what the registry held at this revision.
        fn agrees(&self, revision: Revision) {
            let unspoilt = |records: &Records| -> Records {
                let unspoilt = records
                    .iter()
                    .filter(|(name, value)| value.is_some() && !self.spoilt.contains(*name));
                unspoilt.map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            let (_, want) = self.history.range(..=revision).next_back().unwrap();
            assert_eq!(unspoilt(&self.redis.1), unspoilt(want), "at {revision}");
        }

        /// All that waits comes to Redis.
        fn drain(&mut self) {
            while let Some(parcel) = self.queue.take() {
                self.send(parcel.batch);
            }
            let (last, records) = self.last();
            let records = records.clone();
            let bulk = self.queue.take_bulk().filter(|bulk| bulk.to > self.redis.0);
            if let Some(bulk) = bulk {
                assert!(bulk.covers(self.redis.0));
                let Some(names) = bulk.all() else {
                    return;
                };
                for name in names {
                    let value = records.get(name).cloned().flatten();
                    self.redis.1.insert(name.clone(), value);
                    self.spoilt.remove(name);
                }
                self.redis.0 = bulk.to;
            }
            assert_eq!(self.redis.0, last);
            self.agrees(last);
        }
    }

    fn op() -> impl Strategy<Value = Op> {
        let change = || (0..12_u8, option::of(any::<u8>()));
        prop_oneof![
            6 => (1..4_i64, vec(change(), 0..8)).prop_map(|(by, changes)| Op::Push(by, changes)),
            4 => Just(Op::Take),
            2 => (0..4_usize, any::<bool>()).prop_map(|(steps, told)| Op::Other(steps, told)),
            1 => (0..12_u8).prop_map(Op::Spoil),
        ]
    }

    proptest! {
        #[test]
        fn redis_always_holds_what_the_registry_held_at_its_revision(
            waiting in 800..3_000_usize,
            names in 200..2_000_usize,
            ops in vec(op(), 1..60),
        ) {
            let size = |changes| Size { changes, bytes: 200 };
            let limits = QueueLimits { batch: size(3), revision: size(6), waiting, names, ..QueueLimits::default() };
            let mut model = Model {
                queue: Queue::new("e", 1, limits),
                history: BTreeMap::from([(1, Records::new())]),
                redis: (1, Records::new()),
                spoilt: BTreeSet::new(),
            };
            ops.iter().for_each(|op| model.run(op));
            model.drain();
        }
    }
}
