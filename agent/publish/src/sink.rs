//! The sink: the table in Redis, written behind a fence.
//!
//! Any number of agents write at the same time with no leader. Each write is
//! one script that checks, before it changes anything, that it fits onto what
//! Redis holds: [`Sink::batch`] by epoch and revision, the pieces of a rebuild
//! by a claim. [`redis`] is the real one and the only file that knows the
//! Redis client.

use std::fmt;

use async_trait::async_trait;
use pointsman_model::{Change, Element};
use pointsman_store::Revision;

pub mod redis;
pub mod script;

/// The version of the records' format that this agent writes.
pub const FORMAT: u32 = 3;

/// What Redis says about its table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The version of the records' format.
    pub format: u32,
    /// The registry whose table this is.
    pub epoch: String,
    /// The revision that the records are at.
    pub rev: Revision,
    /// Whether the records are whole; not while they are rebuilt.
    pub ready: bool,
    /// The token of the last rebuild.
    pub claim: Revision,
    /// The next piece of a rebuild that is under way.
    pub next: u64,
}

/// What stands in Redis under the key `meta`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: Redis is new, or was emptied.
    Nothing,
    /// Something that is not ours to read: a wrong type, or fields amiss.
    Broken(String),
    /// A table.
    Table(Meta),
}

/// All changes of the revisions in `(from, to]`, as final values. Where `from`
/// equals `to` it is a repair: it puts elements right that differ from what
/// they are at this very revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The registry's epoch.
    pub epoch: String,
    /// The revision that the batch builds on.
    pub from: Revision,
    /// The revision that it leads to.
    pub to: Revision,
    /// What changes; may be nothing but the revision.
    pub changes: Vec<Change>,
}

/// What became of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It is in.
    Applied,
    /// Redis was at this revision already, at or behind the batch's end.
    Stale(Revision),
    /// Redis is at this revision, before the batch's start.
    Gap(Revision),
    /// Redis holds another epoch.
    OtherEpoch(String),
    /// Redis holds records of another format.
    OtherFormat(String),
    /// A rebuild is under way.
    Building,
    /// There is no table, or something of a wrong type is in the way.
    Broken(String),
}

/// A claim on the rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The registry's epoch.
    pub epoch: String,
    /// An epoch whose table may be replaced, by an operator's word.
    pub replaces: Option<String>,
    /// The mod revision of the claim in etcd.
    pub token: Revision,
    /// The revision that the table will be at.
    pub revision: Revision,
    /// Only what changed after this revision is written; the rest must be
    /// there. None: all is written.
    pub from: Option<Revision>,
}

/// What became of a step of a rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebuildStep {
    /// Done.
    Done,
    /// Another agent has a newer claim, or Redis is ahead or another's: why.
    Refused(String),
}

/// A page of what Redis holds.
#[derive(Clone, Debug, Default)]
pub struct Scanned {
    /// Elements under our prefix.
    pub elements: Vec<Element>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// What some elements are in Redis, read in one go with where Redis stands.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where Redis stood.
    pub found: Found,
    /// The values, in the order asked for.
    pub values: Vec<Option<Box<str>>>,
}

/// An error of the sink: the outcome of the call is not known, unless the
/// variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SinkError {
    /// Redis cannot be reached, or did not answer in time.
    #[error("redis is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Redis refuses: credentials, read-only, out of memory, loading.
    #[error("redis refused")]
    Refused(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// This Redis cannot serve as the table.
    #[error("this redis cannot be used: {0}")]
    Unfit(String),
}

/// What the agent needs of Redis. Every call may be repeated after an error.
#[async_trait]
pub trait Sink: Send + Sync + fmt::Debug {
    /// The version of the records' format that this sink writes.
    fn format(&self) -> u32;

    /// Reads what Redis says about its table.
    async fn meta(&self) -> Result<Found, SinkError>;

    /// The same from an agent that follows etcd; tells edges that it is there.
    async fn probe(&self) -> Result<Found, SinkError> {
        self.meta().await
    }

    /// Applies a batch iff the epoch matches, the table is ready and
    /// `from <= rev < to`; a repair iff `rev` is its revision.
    async fn batch(&self, batch: &Batch) -> Result<BatchOutcome, SinkError>;

    /// Begins a rebuild iff the claim is newer than the last one and Redis is
    /// not ahead; or Redis holds no table, or that of the epoch to replace. If
    /// only what changed is written: iff Redis also holds a whole table that is
    /// not behind [`Claim::from`].
    async fn begin(&self, claim: &Claim) -> Result<RebuildStep, SinkError>;

    /// Writes piece `n` of a rebuild iff the claim is ours and it is its turn.
    async fn piece(
        &self,
        token: Revision,
        n: u64,
        changes: &[Change],
    ) -> Result<RebuildStep, SinkError>;

    /// Ends a rebuild iff all `n` pieces are in.
    async fn end(
        &self,
        token: Revision,
        n: u64,
        revision: Revision,
    ) -> Result<RebuildStep, SinkError>;

    /// Reads some elements and where Redis stands, at one point in time.
    async fn read(&self, elements: &[Element]) -> Result<Reading, SinkError>;

    /// Goes through the elements that Redis holds, from `cursor` (0: start).
    async fn scan(&self, cursor: u64) -> Result<Scanned, SinkError>;
}
