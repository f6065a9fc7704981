//! The sync: one task that keeps Redis equal to what etcd's content derives
//! to.
//!
//! It looks where Redis stands (`locate`), lists etcd *at that revision*, and
//! from there on sends what the watch brings, batch by batch (`stream`);
//! where etcd no longer has that revision, or Redis holds no whole table, it
//! rebuilds (`rebuild`); that is also how it writes, in pieces, what has changed
//! but is too much for batches. Whatever it does not understand makes it look again,
//! never guess. While nothing puts the table or the watch in doubt, a look
//! keeps both (`follow`), and etcd is not listed again. Beside it, one agent
//! of all compares both sides at rest (`reconcile`).

use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;

use pointsman_coordinate::presence;
use pointsman_mirror::table::Table;
use pointsman_mirror::watch::End;
use pointsman_mirror::{ListProgress, Mirror};
use pointsman_store::pauses::Pauses;
use pointsman_store::{Revision, Store};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::sink::Sink;

mod follow;
mod guard;
mod locate;
mod metrics;
pub mod operator;
mod queue;
mod rebuild;
mod reconcile;
pub mod sink;
mod status;
mod stream;

use locate::Start;
pub use metrics::PublishMetrics;
use queue::{Bulk, Queue};
pub use queue::{QueueLimits, Size};
use reconcile::{Finding, Reconciler};
pub use status::{Observe, Phase, SyncStatus};
use status::{Side, StatusWriter};

/// How long to wait before looking again at something that does not fit.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A rebuild that makes no progress for so long is taken over.
const STALLED: Duration = Duration::from_secs(5);
/// How often the progress of another agent's rebuild is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// The sync of one agent.
#[derive(Debug)]
pub struct Publisher {
    agent: String,
    store: Arc<dyn Store>,
    sink: Arc<dyn Sink>,
    mirror: Mirror,
    status: StatusWriter,
    observer: Arc<dyn Observe>,
    jitter: SmallRng,
    reconciler: Reconciler,
    /// What the reconciler found to differ.
    findings: mpsc::Receiver<Finding>,
    /// Whether Redis holds something of a wrong type, which only a rebuild
    /// can put right.
    broken: bool,
    limits: QueueLimits,
    /// What Redis lacks, where that is too much for batches.
    bulk: Option<Bulk>,
}

/// Why the present way of going on is at its end.
#[derive(Debug)]
enum Turn {
    /// Look where Redis stands. The table and its watch are as good as before.
    LookAgain(String),
    /// The same, but they cannot be relied on: list etcd again.
    ListAgain(String),
    /// Shutdown was asked for.
    Stop,
}

impl Publisher {
    /// A publisher for the agent named `agent`, which drives `mirror`; nothing
    /// happens before [`Publisher::run`]. The status can be read by others.
    pub fn new(
        agent: &str,
        mirror: Mirror,
        sink: Arc<dyn Sink>,
        observer: Arc<dyn Observe>,
    ) -> (Self, watch::Receiver<SyncStatus>) {
        let (status, receiver) = StatusWriter::new();
        let store = Arc::clone(mirror.store());
        let (reconciler, findings) = Reconciler::new(
            agent,
            Arc::clone(&store),
            Arc::clone(&sink),
            Arc::clone(mirror.table()),
        );
        let publisher = Self {
            agent: agent.to_owned(),
            store,
            sink,
            mirror,
            status,
            observer,
            jitter: rand::make_rng(),
            reconciler,
            findings,
            broken: false,
            limits: QueueLimits::default(),
            bulk: None,
        };
        (publisher, receiver)
    }

    /// The same sync, with all that is random in it drawn from `seed`.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.jitter = SmallRng::seed_from_u64(seed);
        self.reconciler.jitter = SmallRng::seed_from_u64(!seed);
        self
    }

    /// The same sync, reconciling at this interval.
    #[must_use]
    pub fn reconcile_every(mut self, interval: Duration) -> Self {
        self.reconciler.interval = interval;
        self
    }

    /// The same sync, sending so much to Redis at once.
    #[must_use]
    pub fn limited(mut self, limits: QueueLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Runs until `shutdown`. A write that is under way is waited for; the
    /// caller bounds that wait.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let agent = self.agent.clone();
        let seed = self.jitter.random();
        let presence = presence::hold(&agent, Arc::clone(&self.store), self.sink.format(), seed);
        let reconcile = self.reconciler.clone().run();
        tokio::select! {
            biased;
            () = self.keep_going(&shutdown) => {}
            () = presence => {}
            () = reconcile => {}
        }
        self.status.set_phase(Phase::Stopped, None);
        presence::leave(&agent, &*self.store).await;
    }

    /// Pauses between tries: two agents that stumble over each other must not
    /// do so in step.
    fn pauses(&mut self) -> Pauses {
        Pauses::new(FIRST_PAUSE, LONGEST_PAUSE).seeded(self.jitter.random())
    }

    async fn keep_going(&mut self, shutdown: &CancellationToken) {
        let mut pauses = self.pauses();
        loop {
            match self.session(shutdown).await {
                Turn::Stop => return,
                Turn::LookAgain(why) => info!(%why, "looking again where redis stands"),
                Turn::ListAgain(why) => {
                    info!(%why, "looking again where redis and etcd stand");
                    self.doubt();
                }
            }
            if matches!(self.status.phase(), Phase::Connecting | Phase::Streaming) {
                pauses.reset();
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = self.pass_time(pauses.following()) => {}
            }
        }
    }

    /// From a look at both sides to the point where another look is needed.
    async fn session(&mut self, shutdown: &CancellationToken) -> Turn {
        let prepared = tokio::select! {
            biased;
            () = shutdown.cancelled() => return Turn::Stop,
            prepared = self.prepare() => prepared,
        };
        match prepared {
            Ok(queue) => self.stream(queue, shutdown).await,
            Err(turn) => turn,
        }
    }

    /// Brings the table and Redis to the same revision, but for what waits in
    /// the queue.
    async fn prepare(&mut self) -> Result<Queue, Turn> {
        let (epoch, mut start) = self.locate().await;
        if std::mem::take(&mut self.broken) && matches!(start, Start::Follow(_)) {
            start = Start::REBUILD;
        }
        let mut queue = None;
        if let Start::Follow(revision) = start
            && let Some(epoch) = self.mirror.follows().map(str::to_owned)
        {
            queue = self.queue_from(&epoch, revision);
            if queue.is_none() {
                self.doubt();
            }
        }
        if self.mirror.follows().is_none() {
            self.list_for(&mut start, &epoch).await?;
        }
        let revision = match start {
            Start::Follow(revision) => {
                let mut queue = queue.unwrap_or_else(|| self.queue(&epoch, revision));
                self.bulk = queue.take_bulk();
                match &self.bulk {
                    None => return Ok(queue),
                    Some(bulk) if bulk.all().is_some() => self.write_bulk(&epoch).await?,
                    Some(_) => self.rebuild(&epoch, None).await?,
                }
            }
            Start::Rebuild { replaces } => self.rebuild(&epoch, replaces).await?,
        };
        self.bulk = None;
        Ok(self.queue(&epoch, revision))
    }

    /// An empty queue for a Redis at `at`.
    fn queue(&self, epoch: &str, at: Revision) -> Queue {
        Queue::new(epoch, at, self.limits)
    }

    /// Lists etcd, at the revision to follow from or else as it is now. Where
    /// that revision has been compacted away, only a rebuild is left.
    async fn list_for(&mut self, start: &mut Start, epoch: &str) -> Result<(), Turn> {
        loop {
            let at = match start {
                Start::Follow(revision) => Some(*revision),
                Start::Rebuild { .. } => None,
            };
            let seed = self.jitter.random();
            match self.list(epoch, at, seed).await {
                Ok(()) => return Ok(()),
                Err(End::Compacted) => {
                    info!(revision = at, "etcd has compacted what redis stands at");
                    if matches!(start, Start::Follow(_)) {
                        *start = Start::REBUILD;
                    }
                }
                Err(end) => return Err(Turn::ListAgain(format!("{end:?}"))),
            }
        }
    }

    /// Fills the table from a listing; the old one is shown until then.
    async fn list(&mut self, epoch: &str, at: Option<Revision>, seed: u64) -> Result<(), End> {
        self.status.set_phase(Phase::Listing, None);
        let mut listing = self.mirror.listing(epoch, at).seeded(seed);
        loop {
            match listing.step().await {
                ListProgress::Page => self.status.etcd_answers(),
                ListProgress::Complete => {
                    self.mirror.take(listing);
                    self.bulk = None;
                    self.status.show_table(&self.mirror);
                    self.observer.listed();
                    return Ok(());
                }
                ListProgress::Failed(error) => {
                    self.status.heard::<(), _>(Side::Store, Err(error)).ok();
                }
                ListProgress::Ended(end) => return Err(end),
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.mirror.read()
    }

    /// Gives up following etcd.
    fn doubt(&mut self) {
        self.mirror.doubt();
        self.status.show_watch(false);
    }
}
