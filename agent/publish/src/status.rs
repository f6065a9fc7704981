//! What the sync tells about itself.

use std::fmt;
use std::time::Duration;

use pointsman_store::Revision;

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
