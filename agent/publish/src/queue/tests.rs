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
