//! The log itself: a queue that is bounded in number and bytes. No I/O.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pointsman_model::{Actor, Kind, Revision};
use pointsman_store::{Event, KeyValue, RecordedEvent};

/// How many changes are kept.
pub const KEPT: usize = 10_000;
/// How many bytes they may have, keys and values together.
const MOST_BYTES: usize = 32 << 20;
/// What an event takes beside them.
const EACH: usize = 256;

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedEvent {
    /// The revision that it made.
    pub revision: Revision,
    /// When; `None` if it does not say, and was not seen at once.
    pub at: Option<SystemTime>,
    /// Who made it; `None` if it does not say: etcd, or a client of etcd.
    pub actor: Option<Actor>,
    /// What was changed.
    pub kind: Kind,
    /// Its name: what stands behind the prefix in its key.
    pub name: Box<str>,
    /// What happened to it.
    pub op: LoggedOp,
    /// What it was; `None` if it was not there, or that is compacted away.
    pub before: Option<Box<[u8]>>,
    /// What it is; `None` if it is gone.
    pub value: Option<Box<[u8]>>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoggedOp {
    /// It was written.
    Put,
    /// It was deleted.
    Delete,
    /// It went with its lease.
    Expired,
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventPage {
    /// The changes, whole revisions.
    pub events: Vec<Arc<LoggedEvent>>,
    /// From this revision on, nothing is missing in the log.
    pub from: Revision,
    /// Whether later changes are known.
    pub more: bool,
    /// Another one whenever the log begins from scratch: revisions of before
    /// mean nothing any more.
    pub begun: u64,
}

/// The last changes of one registry.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    events: VecDeque<Arc<LoggedEvent>>,
    bytes: usize,
    epoch: String,
    /// From this revision on, nothing is missing.
    from: Revision,
    /// The revision to read on from.
    next: Revision,
    begun: u64,
}

impl EventLog {
    /// Whether it follows a registry.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun > 0
    }

    /// Goes on with the registry `epoch`, which is at revision `now`; begins
    /// from scratch if that is another one, or has gone back. Answers the
    /// revision to read on from.
    pub(crate) fn go_on(&mut self, epoch: &str, now: Revision) -> Revision {
        if self.epoch != epoch || now < self.next - 1 {
            let kept = Revision::try_from(KEPT).unwrap_or(Revision::MAX);
            let from = (now - kept + 1).max(1);
            *self = Self {
                epoch: epoch.to_owned(),
                from,
                next: from,
                begun: self.begun + 1,
                ..Self::default()
            };
        }
        self.next
    }

    /// What lies before `revision` and was not read is lost.
    pub(crate) fn lose_before(&mut self, revision: Revision) {
        if revision > self.next {
            (self.from, self.next) = (revision, revision);
        }
    }

    /// Takes changes in: whole revisions, in order. Those up to `old` were made
    /// before they were watched. Answers whether the registry is still the same.
    pub(crate) fn take(&mut self, events: Vec<RecordedEvent>, old: Revision) -> bool {
        let mut actor: Option<(Revision, Actor, SystemTime)> = None;
        let now = SystemTime::now();
        let last = events.last().map(|recorded| recorded.event.revision());
        for RecordedEvent { event, before } in events {
            let revision = event.revision();
            if revision < self.next {
                continue;
            }
            let (Event::Put(KeyValue { key, .. }) | Event::Delete { key, .. }) = &event;
            let Some((kind, name)) = Kind::of(key) else {
                continue;
            };
            match (kind, &event) {
                // It comes first in its revision.
                (Kind::Actor, Event::Put(kv)) => {
                    let signature = Actor::from_value(&kv.value);
                    actor = signature.map(|(actor, at)| (revision, actor, time(at)));
                }
                (Kind::Epoch, Event::Put(kv)) if kv.value != self.epoch.as_bytes() => return false,
                (kind, _) if kind.is_event() => {
                    let signature = actor.as_ref().filter(|(at, ..)| *at == revision);
                    let op = match &event {
                        Event::Put(_) => LoggedOp::Put,
                        Event::Delete { .. } => {
                            let had_lease = before.as_ref().is_some_and(|kv| kv.lease != 0);
                            match had_lease && signature.is_none() {
                                true => LoggedOp::Expired,
                                false => LoggedOp::Delete,
                            }
                        }
                    };
                    let seen = (revision > old).then_some(now);
                    let name = name.into();
                    self.push(LoggedEvent {
                        revision,
                        at: signature.map(|(.., at)| *at).or(seen),
                        actor: signature.map(|(_, actor, _)| actor.clone()),
                        kind,
                        name,
                        op,
                        before: before.map(|kv| kv.value.into()),
                        value: match event {
                            Event::Put(kv) => Some(kv.value.into()),
                            Event::Delete { .. } => None,
                        },
                    });
                }
                _ => {}
            }
        }
        self.next = self.next.max(last.map_or(0, |last| last + 1));
        true
    }

    fn push(&mut self, event: LoggedEvent) {
        self.bytes += size(&event);
        self.events.push_back(Arc::new(event));
        while self.events.len() > KEPT || (self.bytes > MOST_BYTES && self.events.len() > 1) {
            if let Some(oldest) = self.events.pop_front() {
                self.bytes -= size(&oldest);
                self.from = self.from.max(oldest.revision + 1);
            }
        }
    }

    /// The changes after revision `since`, `limit` at the most, but whole
    /// revisions.
    pub(crate) fn after(&self, since: Revision, limit: usize) -> EventPage {
        let start = self.events.partition_point(|event| event.revision <= since);
        let mut end = (start + limit).min(self.events.len());
        if let Some(last) = end.checked_sub(1).and_then(|last| self.events.get(last)) {
            let whole = |event: &Arc<LoggedEvent>| event.revision <= last.revision;
            end = self.events.partition_point(whole).max(start);
        }
        self.page(start, end)
    }

    /// The last changes, `limit` at the least, and whole revisions.
    pub(crate) fn last(&self, limit: usize) -> EventPage {
        let end = self.events.len();
        let mut start = end.saturating_sub(limit);
        if let Some(first) = self.events.get(start) {
            let earlier = |event: &Arc<LoggedEvent>| event.revision < first.revision;
            start = self.events.partition_point(earlier);
        }
        self.page(start, end)
    }

    fn page(&self, start: usize, end: usize) -> EventPage {
        EventPage {
            events: self.events.range(start..end).cloned().collect(),
            from: self.from,
            more: end < self.events.len(),
            begun: self.begun,
        }
    }
}

fn size(event: &LoggedEvent) -> usize {
    let values = [&event.before, &event.value].into_iter().flatten();
    values.map(|value| value.len()).sum::<usize>() + event.name.len() + EACH
}

fn time(at: u64) -> SystemTime {
    // The year 9999 is the last that RFC 3339 can write.
    const LAST: u64 = 253_402_300_799_999;
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.min(LAST))
}
