//! The sync: one task that keeps Redis equal to what etcd's content derives
//! to.
//!
//! It looks where Redis stands, lists etcd *at that revision*, and from there
//! on sends what the watch brings, batch by batch; where etcd no longer has
//! that revision, or Redis holds no whole table, it rebuilds. Whatever it does
//! not understand makes it look again, never guess.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::sink::{FORMAT, Found, Meta, Sink};
use crate::store::{Condition, Revision, Store, StoreError, Written};
use crate::table::Table;
use crate::watch::{End, Step, Watcher};

mod queue;
mod rebuild;
mod status;
mod stream;

pub use status::{Observe, Phase, SyncStatus};

/// How long to wait before looking again at something that does not fit.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A rebuild that makes no progress for so long is taken over.
const STALLED: Duration = Duration::from_secs(5);
/// How often the progress of another agent's rebuild is looked at.
const GLANCE: Duration = Duration::from_millis(200);

/// The table as the API reads it. Hold the guard for microseconds only.
pub type SharedTable = Arc<RwLock<Table>>;

/// The sync of one agent.
#[derive(Debug)]
pub struct Sync {
    agent: String,
    store: Arc<dyn Store>,
    sink: Arc<dyn Sink>,
    table: SharedTable,
    status: watch::Sender<SyncStatus>,
    observer: Arc<dyn Observe>,
    /// Whether a complaint about this side has been logged already.
    complained: [bool; 2],
    /// Whether Redis holds something of a wrong type, which only a rebuild
    /// can put right.
    broken: bool,
}

/// Where to begin.
#[derive(Debug, PartialEq, Eq)]
enum Start {
    /// Redis holds a whole table at this revision: go on from it.
    Follow(Revision),
    /// Redis holds none.
    Rebuild,
}

/// Why the present way of going on is at its end.
#[derive(Debug)]
enum Turn {
    /// Look where Redis stands, and begin anew.
    LookAgain(String),
    /// Shutdown was asked for.
    Stop,
}

/// Which side a complaint is about.
#[derive(Clone, Copy, Debug)]
enum Side {
    Store = 0,
    Sink = 1,
}

impl Sync {
    /// A sync for the agent named `agent`; nothing happens before
    /// [`Sync::run`]. The table and the status can be read by others.
    pub fn new(
        agent: &str,
        store: Arc<dyn Store>,
        sink: Arc<dyn Sink>,
        observer: Arc<dyn Observe>,
    ) -> (Self, SharedTable, watch::Receiver<SyncStatus>) {
        let table = SharedTable::default();
        let (status, receiver) = watch::channel(SyncStatus::default());
        let sync = Self {
            agent: agent.to_owned(),
            store,
            sink,
            table: Arc::clone(&table),
            status,
            observer,
            complained: [false; 2],
            broken: false,
        };
        (sync, table, receiver)
    }

    /// Runs until `shutdown`. A write that is under way is waited for; the
    /// caller bounds that wait.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.session(&shutdown).await {
                Turn::Stop => break,
                Turn::LookAgain(why) => info!(%why, "looking again where redis stands"),
            }
            // Two agents that stumble over each other must not do so in step.
            let jitter = rand::random_range(0.5..1.0);
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = sleep(pause.mul_f64(jitter)) => {}
            }
            let streamed = self.status.borrow().phase == Phase::Streaming;
            pause = if streamed {
                FIRST_PAUSE
            } else {
                (pause * 2).min(LONGEST_PAUSE)
            };
        }
        self.set_phase(Phase::Stopped, None);
    }

    /// From a look at both sides to the point where another look is needed.
    async fn session(&mut self, shutdown: &CancellationToken) -> Turn {
        let prepared = tokio::select! {
            () = shutdown.cancelled() => return Turn::Stop,
            prepared = self.prepare() => prepared,
        };
        match prepared {
            Ok((watcher, epoch, applied)) => self.stream(watcher, &epoch, applied, shutdown).await,
            Err(turn) => turn,
        }
    }

    /// Brings the table and Redis to the same revision.
    async fn prepare(&mut self) -> Result<(Watcher, String, Revision), Turn> {
        let (epoch, mut start) = self.locate().await;
        if std::mem::take(&mut self.broken) {
            start = Start::Rebuild;
        }
        loop {
            let at = match start {
                Start::Follow(revision) => Some(revision),
                Start::Rebuild => None,
            };
            let mut watcher = Watcher::new(Arc::clone(&self.store), &epoch, at);
            match self.list(&mut watcher).await {
                Ok(()) => {}
                Err(End::Compacted) => {
                    info!(revision = at, "etcd has compacted what redis stands at");
                    start = Start::Rebuild;
                    continue;
                }
                Err(end) => return Err(Turn::LookAgain(format!("{end:?}"))),
            }
            let applied = match start {
                Start::Follow(revision) => revision,
                Start::Rebuild => self.rebuild(&mut watcher, &epoch).await?,
            };
            return Ok((watcher, epoch, applied));
        }
    }

    /// Looks at Redis and etcd until they fit together.
    async fn locate(&mut self) -> (String, Start) {
        loop {
            match self.look().await {
                Ok(Ok(found)) => return found,
                Ok(Err(reason)) => {
                    let held = self.status.borrow().hold_reason.as_deref() == Some(&reason);
                    if !held {
                        error!(%reason, "holding: redis is left as it is");
                    }
                    self.set_phase(Phase::Holding, Some(reason));
                }
                Err(()) => {}
            }
            sleep(LOOK_AGAIN.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    /// One look. The inner error says why nothing may be written.
    async fn look(&mut self) -> Result<Result<(String, Start), String>, ()> {
        // Redis first: then etcd, read after it, cannot be behind it by right.
        let found = self.sink.meta().await;
        let found = self.heard(Side::Sink, found)?;
        let read = self.store.get("epoch").await;
        let (kv, revision) = self.heard(Side::Store, read)?;
        let epoch = kv.map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
        let Some(epoch) = epoch else {
            if let Found::Table(meta) = found {
                return Ok(Err(format!(
                    "etcd names no epoch, but redis holds the table of epoch {} at revision {}: \
                     etcd was emptied or is another cluster",
                    meta.epoch, meta.rev
                )));
            }
            let fresh = uuid::Uuid::new_v4().to_string();
            let put = self
                .store
                .put("epoch", fresh.as_bytes(), 0, Condition::Absent)
                .await;
            // Another agent may have been quicker: the next look tells.
            if let Written::Done(revision) = self.heard(Side::Store, put)? {
                info!(epoch = %fresh, revision, "named a new registry");
            }
            return Err(());
        };
        Ok(fit(&epoch, revision, found).map(|start| (epoch, start)))
    }

    /// Fills the table from a listing; the old one is shown until then.
    async fn list(&mut self, watcher: &mut Watcher) -> Result<(), End> {
        self.set_phase(Phase::Listing, None);
        let mut table = Table::new();
        loop {
            match watcher.step().await {
                Step::Page(items) => {
                    self.note_store_answers();
                    items.iter().for_each(|kv| table.load(kv));
                }
                Step::Listed(revision) => {
                    table.loaded(revision);
                    *self.table.write().unwrap_or_else(PoisonError::into_inner) = table;
                    self.show_table();
                    self.observer.listed();
                    return Ok(());
                }
                Step::Failed(error) => {
                    self.heard::<(), _>(Side::Store, Err(error)).ok();
                }
                Step::Ended(end) => return Err(end),
                Step::Watching | Step::Events(_) => {}
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how a side answered, and logs it once when that changes.
    fn heard<T, E>(&mut self, side: Side, answer: Result<T, E>) -> Result<T, ()>
    where
        E: std::error::Error + 'static,
    {
        let connected = answer.is_ok();
        let error = answer.as_ref().err().map(chain);
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

    fn note_store_answers(&mut self) {
        self.heard::<_, StoreError>(Side::Store, Ok(())).ok();
    }

    fn set_phase(&self, phase: Phase, reason: Option<String>) {
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

    /// Publishes where the table is.
    fn show_table(&self) {
        let (revision, epoch) = {
            let table = self.read();
            (table.revision(), table.epoch().map(str::to_owned))
        };
        self.status.send_modify(|status| {
            status.seen = revision;
            status.epoch = epoch;
        });
    }
}

/// Whether Redis and etcd fit together, and how to go on if they do.
fn fit(epoch: &str, revision: Revision, found: Found) -> Result<Start, String> {
    let meta = match found {
        Found::Nothing => return Ok(Start::Rebuild),
        Found::Broken(why) => {
            warn!(%why, "redis holds something that is no table of ours");
            return Ok(Start::Rebuild);
        }
        Found::Table(meta) => meta,
    };
    let Meta {
        format,
        epoch: other,
        rev,
        ready,
        ..
    } = meta;
    if format != FORMAT {
        return Err(format!(
            "redis holds records of format {format}, this agent writes {FORMAT}"
        ));
    }
    if other != epoch {
        return Err(format!(
            "redis holds the table of epoch {other}, etcd names {epoch}: one of them was \
             restored, or they do not belong together"
        ));
    }
    if rev > revision {
        return Err(format!(
            "etcd has gone back: it is at revision {revision}, redis at {rev}"
        ));
    }
    Ok(if ready {
        Start::Follow(rev)
    } else {
        Start::Rebuild
    })
}

/// An error with all that caused it, for one line of a log.
fn chain(error: &(impl std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
