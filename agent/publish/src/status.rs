//! What the sync tells about itself.

use std::fmt;
use std::time::Duration;

use pointsman_mirror::Mirror;
use pointsman_model::Chain;
use pointsman_store::{Revision, StoreError};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::queue::Queue;

/// What the sync is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It has not yet seen both sides.
    #[default]
    Starting,
    /// It reads etcd's content.
    Listing,
    /// It writes the whole table to Redis.
    Rebuilding,
    /// It opens a watch at etcd; no change arrives meanwhile.
    Connecting,
    /// It follows etcd, change by change.
    Streaming,
    /// etcd and Redis do not fit together; Redis is left as it is until they
    /// do, or an operator decides.
    Holding,
    /// It was stopped.
    Stopped,
}

impl Phase {
    /// The word as it stands in `/v1/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Listing => "listing",
            Phase::Rebuilding => "rebuilding",
            Phase::Connecting => "connecting",
            Phase::Streaming => "streaming",
            Phase::Holding => "holding",
            Phase::Stopped => "stopped",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The state of the sync, as published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncStatus {
    /// What it is doing.
    pub phase: Phase,
    /// Why it is holding.
    pub hold_reason: Option<String>,
    /// Whether etcd answered the last time.
    pub etcd_connected: bool,
    /// Whether Redis answered the last time.
    pub redis_connected: bool,
    /// The last error of either side, with its causes.
    pub last_error: Option<String>,
    /// The registry's epoch.
    pub epoch: Option<String>,
    /// The revision that the table is at.
    pub seen: Revision,
    /// The revision that Redis is known to be at.
    pub applied: Revision,
    /// Changes that wait to be sent.
    pub waiting: usize,
    /// Whether Redis has once been brought to what etcd held (a latch).
    pub ready: bool,
}

/// Somebody who counts what happens; the metrics.
pub trait Observe: fmt::Debug + Send + Sync {
    /// Events came from etcd.
    fn events(&self, _count: usize) {}
    /// A batch was answered, with this word, after this time.
    fn batch(&self, _outcome: &'static str, _changes: usize, _took: Duration) {}
    /// A revision reached Redis so long after its event came in.
    fn applied(&self, _after: Duration) {}
    /// A rebuild ended, with this many records, after this time.
    fn rebuilt(&self, _records: usize, _took: Duration) {}
    /// So many elements differed at rest and were put right.
    fn repaired(&self, _elements: usize) {}
    /// A listing ended.
    fn listed(&self) {}
}

/// Nobody counts.
impl Observe for () {}

/// Which side a complaint is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Side {
    Store = 0,
    Sink = 1,
}

/// The status as the sync writes it: others are woken where it changes, and
/// each change of what matters is logged once.
#[derive(Debug)]
pub(crate) struct StatusWriter {
    status: watch::Sender<SyncStatus>,
    /// Whether a complaint about this side has been logged already.
    complained: [bool; 2],
}

impl StatusWriter {
    pub(crate) fn new() -> (Self, watch::Receiver<SyncStatus>) {
        let (status, receiver) = watch::channel(SyncStatus::default());
        let writer = Self {
            status,
            complained: [false; 2],
        };
        (writer, receiver)
    }

    pub(crate) fn phase(&self) -> Phase {
        self.status.borrow().phase
    }

    /// Notes how a side answered, and logs it once when that changes.
    pub(crate) fn heard<T, E>(&mut self, side: Side, answer: Result<T, E>) -> Result<T, ()>
    where
        E: std::error::Error + 'static,
    {
        let connected = answer.is_ok();
        let error = answer.as_ref().err().map(|error| Chain(error).to_string());
        self.status.send_if_modified(|status| {
            let known = match side {
                Side::Store => &mut status.etcd_connected,
                Side::Sink => &mut status.redis_connected,
            };
            let news = *known != connected || error.is_some();
            *known = connected;
            if error.is_some() {
                status.last_error.clone_from(&error);
            }
            news
        });
        let complained = &mut self.complained[side as usize];
        match (&error, *complained) {
            (Some(error), false) => warn!(?side, %error, "no answer, trying on"),
            (None, true) => info!(?side, "answers again"),
            _ => {}
        }
        *complained = error.is_some();
        answer.map_err(|_| ())
    }

    pub(crate) fn etcd_answers(&mut self) {
        self.heard::<_, StoreError>(Side::Store, Ok(())).ok();
    }

    pub(crate) fn set_phase(&self, phase: Phase, reason: Option<String>) {
        self.status.send_if_modified(|status| {
            let news = status.phase != phase || status.hold_reason != reason;
            if status.phase != phase {
                info!(from = %status.phase, to = %phase, "sync");
            }
            status.phase = phase;
            status.hold_reason = reason;
            news
        });
    }

    /// Says why nothing is written.
    pub(crate) fn hold(&self, reason: String) {
        if self.status.borrow().hold_reason.as_deref() != Some(&reason) {
            error!(%reason, "holding: redis is left as it is");
        }
        self.set_phase(Phase::Holding, Some(reason));
    }

    /// Says that it streams only while a watch is open.
    pub(crate) fn show_watch(&self, is_open: bool) {
        match (self.phase(), is_open) {
            (Phase::Connecting, true) => self.set_phase(Phase::Streaming, None),
            (Phase::Streaming, false) => self.set_phase(Phase::Connecting, None),
            _ => {}
        }
    }

    /// Says where the table is. (Its lock is not held as the status' own is
    /// taken.)
    pub(crate) fn show_table(&self, mirror: &Mirror) {
        let (revision, epoch) = {
            let table = mirror.read();
            (table.revision(), table.epoch().map(str::to_owned))
        };
        self.status.send_modify(|status| {
            status.seen = revision;
            status.epoch = epoch;
        });
    }

    /// Says how far Redis is; `under_way`: a call to it has not been answered.
    pub(crate) fn show_queue(&self, queue: &Queue, under_way: bool, seen: Revision) {
        self.status.send_if_modified(|status| {
            let before = (status.applied, status.waiting, status.ready);
            if !under_way {
                status.applied = queue.at();
            }
            status.waiting = queue.waiting();
            let caught_up = !under_way && queue.is_empty() && queue.at() >= seen;
            if caught_up && !status.ready {
                info!(revision = seen, "ready: redis holds what etcd holds");
                status.ready = true;
            }
            before != (status.applied, status.waiting, status.ready)
        });
    }
}
