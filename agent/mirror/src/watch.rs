//! List-then-watch as an explicit state machine.
//!
//! ```text
//!            ┌───────────── failed: pause ─────────────┐
//!            ▼                                          │
//!  List ──pages──▶ Listed ──▶ Open ──epoch, revision──▶ Watching
//!                              ▲                          │
//!                              └── broken off, or idle ───┘
//!                                  (same next revision)
//! ```
//!
//! Only an event's revision advances the position: never the header of an
//! answer, nor "created", nor a progress answer, which etcd 3.4 sends *before*
//! events that it should follow (etcd#15220). What cannot go on (compacted,
//! gone back, another epoch) ends the watcher; its owner begins a new one.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pointsman_store::pauses::Pauses;
use pointsman_store::{Event, KeyValue, Revision, Store, StoreError, Watch, WatchItem};
use tokio::time::{Instant, sleep_until};

/// A watch that is silent for so long is asked for a sign of life.
///
/// While a member of etcd stands still, changes wait for both of these spans
/// together. They can be short: a ping costs etcd neither disk nor quorum (one
/// message in 3 s for each idle agent); on an etcd that was halted for 500 of
/// each 520 ms none of 24 watches was given up in two minutes, with 2 s halts
/// five times; and a false alarm costs one watch, opened again at the same
/// revision.
pub const IDLE: Duration = Duration::from_secs(3);
/// A watch that gives none within this is taken for dead.
pub const GRACE: Duration = Duration::from_secs(3);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Keys in the first page of a listing. Each page makes etcd walk all keys
/// that are left, so pages must be large; how large, the first one tells.
const FIRST_PAGE: usize = 10_000;
const LARGEST_PAGE: usize = 200_000;
const PAGE_BYTES: usize = 64 << 20;

/// What a step of the watcher brought.
#[derive(Debug)]
pub enum WatcherStep {
    /// Some keys of the listing.
    Page(Vec<KeyValue>),
    /// The listing is complete, at this revision.
    Listed(Revision),
    /// The watch is open (again).
    Watching,
    /// All events of some revisions, in order, revision by revision.
    Events(Vec<(Revision, Vec<Event>)>),
    /// Something failed; the watcher goes on by itself after a pause.
    Failed(StoreError),
    /// The watcher cannot go on, for this reason.
    Ended(End),
}

/// Why a watcher cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The revision to go on from has been compacted away.
    Compacted,
    /// etcd is at a lower revision than the one that we have seen.
    WentBack {
        /// Where etcd is.
        etcd: Revision,
        /// Where we are.
        ours: Revision,
    },
    /// etcd names another epoch, or none.
    OtherEpoch(Option<String>),
}

/// The state machine. It does nothing between calls of [`Watcher::step`].
#[derive(Debug)]
pub struct Watcher {
    store: Arc<dyn Store>,
    epoch: String,
    state: WatcherState,
    pauses: Pauses,
    paused_until: Option<Instant>,
}

enum WatcherState {
    /// The next page of the listing is to be read.
    List {
        at: Option<Revision>,
        from: Vec<u8>,
        limit: usize,
    },
    /// The listing is complete, and the caller does not know yet.
    Listed {
        at: Revision,
    },
    /// The watch is to be opened at this revision.
    Open {
        next: Revision,
    },
    /// It is being opened.
    Opening {
        next: Revision,
        call: Opening,
    },
    Watching {
        watch: Box<dyn Watch>,
        next: Revision,
        /// When it was last heard of, or asked for a sign of life.
        since: Instant,
        asked: bool,
    },
    Ended(End),
}

/// A watch that is being opened. It is kept between steps: a caller that gives
/// up waiting each second must not make it begin again each time.
type Opening = Pin<Box<dyn Future<Output = Result<Opened, StoreError>> + Send>>;

enum Opened {
    Watch(Box<dyn Watch>),
    Not(End),
}

impl std::fmt::Debug for WatcherState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WatcherState::List { at, from, .. } => {
                let from = String::from_utf8_lossy(from);
                write!(f, "List(at {at:?}, from {from:?})")
            }
            WatcherState::Listed { at } => write!(f, "Listed({at})"),
            WatcherState::Open { next } => write!(f, "Open({next})"),
            WatcherState::Opening { next, .. } => write!(f, "Opening({next})"),
            WatcherState::Watching { next, .. } => write!(f, "Watching({next})"),
            WatcherState::Ended(end) => write!(f, "{end:?}"),
        }
    }
}

impl Watcher {
    /// A watcher that lists the registry `epoch`, at revision `at` or otherwise
    /// as it is now, and goes on from there.
    pub fn new(store: Arc<dyn Store>, epoch: &str, at: Option<Revision>) -> Self {
        Self {
            store,
            epoch: epoch.to_owned(),
            state: WatcherState::List {
                at,
                from: Vec::new(),
                limit: FIRST_PAGE,
            },
            pauses: Pauses::new(FIRST_PAUSE, LONGEST_PAUSE),
            paused_until: None,
        }
    }

    /// The same watcher, with its pauses drawn from `seed`.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.pauses = self.pauses.seeded(seed);
        self
    }

    /// The registry that is watched.
    pub fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Whether a watch is open.
    pub fn is_watching(&self) -> bool {
        matches!(self.state, WatcherState::Watching { .. })
    }

    /// Does the next step. Cancel safe: a result that was not returned is returned
    /// by the next call.
    pub async fn step(&mut self) -> WatcherStep {
        if let Some(until) = self.paused_until {
            sleep_until(until).await;
            self.paused_until = None;
        }
        let outcome = match &mut self.state {
            WatcherState::List { .. } => self.list().await,
            WatcherState::Listed { at } => {
                let at = *at;
                self.state = WatcherState::Open { next: at + 1 };
                Ok(WatcherStep::Listed(at))
            }
            WatcherState::Open { next } => {
                let next = *next;
                let call = open(Arc::clone(&self.store), self.epoch.clone(), next);
                self.state = WatcherState::Opening {
                    next,
                    call: Box::pin(call),
                };
                self.opened().await
            }
            WatcherState::Opening { .. } => self.opened().await,
            WatcherState::Watching { .. } => self.follow().await,
            WatcherState::Ended(end) => return WatcherStep::Ended(end.clone()),
        };
        match outcome {
            // A watch that opens and then breaks off at once is no success.
            Ok(WatcherStep::Watching) => WatcherStep::Watching,
            Ok(step) => {
                self.pauses.reset();
                step
            }
            Err(StoreError::Compacted { .. }) => self.end(End::Compacted),
            Err(error) => {
                self.paused_until = Some(Instant::now() + self.pauses.following());
                WatcherStep::Failed(error)
            }
        }
    }

    fn end(&mut self, end: End) -> WatcherStep {
        self.state = WatcherState::Ended(end.clone());
        WatcherStep::Ended(end)
    }

    async fn list(&mut self) -> Result<WatcherStep, StoreError> {
        let WatcherState::List { at, from, limit } = &self.state else {
            return Ok(WatcherStep::Page(Vec::new()));
        };
        let page = self.store.list(from, *limit, *at).await?;
        let at = page.revision;
        self.state = match page.next {
            Some(from) => WatcherState::List {
                at: Some(at),
                from,
                limit: next_limit(&page.items),
            },
            None => WatcherState::Listed { at },
        };
        Ok(WatcherStep::Page(page.items))
    }

    /// Waits for the watch that is being opened.
    async fn opened(&mut self) -> Result<WatcherStep, StoreError> {
        let WatcherState::Opening { next, call } = &mut self.state else {
            return Ok(WatcherStep::Watching);
        };
        let next = *next;
        match call.await {
            Ok(Opened::Watch(watch)) => {
                self.state = WatcherState::Watching {
                    watch,
                    next,
                    since: Instant::now(),
                    asked: false,
                };
                Ok(WatcherStep::Watching)
            }
            Ok(Opened::Not(end)) => Ok(self.end(end)),
            Err(error) => {
                self.state = WatcherState::Open { next };
                Err(error)
            }
        }
    }

    async fn follow(&mut self) -> Result<WatcherStep, StoreError> {
        let WatcherState::Watching {
            watch,
            next,
            since,
            asked,
        } = &mut self.state
        else {
            return Ok(WatcherStep::Watching);
        };
        let from = *next;
        let broken = loop {
            let patience = if *asked { GRACE } else { IDLE };
            let item = tokio::select! {
                biased;
                item = watch.next() => item,
                () = sleep_until(*since + patience) => {
                    if *asked {
                        break StoreError::Unavailable("the watch gives no sign of life".into());
                    }
                    // From now on: the caller may have been away for long.
                    *since = Instant::now();
                    *asked = true;
                    if let Err(error) = watch.ping().await {
                        break error;
                    }
                    continue;
                }
            };
            *since = Instant::now();
            *asked = false;
            match item {
                Ok(Some(WatchItem::Events(events))) => {
                    let revisions = by_revision(events, from);
                    let Some((last, _)) = revisions.last() else {
                        continue;
                    };
                    *next = last + 1;
                    return Ok(WatcherStep::Events(revisions));
                }
                Ok(Some(WatchItem::Alive)) => {}
                Ok(None) => break StoreError::Unavailable("the watch ended".into()),
                Err(error) => break error,
            }
        };
        self.state = WatcherState::Open { next: from };
        Err(broken)
    }
}

/// Opens the watch, after a look whether this is still the etcd that we know: a
/// watch at a future revision opens without complaint, and then skips
/// everything up to it.
async fn open(store: Arc<dyn Store>, ours: String, next: Revision) -> Result<Opened, StoreError> {
    let (epoch, revision) = store.get("epoch").await?;
    let epoch = epoch.map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    if revision < next - 1 {
        return Ok(Opened::Not(End::WentBack {
            etcd: revision,
            ours: next - 1,
        }));
    }
    if epoch.as_deref() != Some(ours.as_str()) {
        return Ok(Opened::Not(End::OtherEpoch(epoch)));
    }
    Ok(Opened::Watch(store.watch(next).await?))
}

/// Groups events by revision, leaving out what lies before `from`.
fn by_revision(events: Vec<Event>, from: Revision) -> Vec<(Revision, Vec<Event>)> {
    let mut revisions: Vec<(Revision, Vec<Event>)> = Vec::new();
    for event in events.into_iter().filter(|event| event.revision() >= from) {
        match revisions.last_mut() {
            Some((revision, group)) if *revision == event.revision() => group.push(event),
            _ => revisions.push((event.revision(), vec![event])),
        }
    }
    revisions
}

fn next_limit(page: &[KeyValue]) -> usize {
    let bytes: usize = page
        .iter()
        .map(|kv| kv.key.len() + kv.value.len() + 32)
        .sum();
    let each = (bytes / page.len().max(1)).max(1);
    (PAGE_BYTES / each).clamp(1, LARGEST_PAGE)
}

#[cfg(test)]
mod tests;
