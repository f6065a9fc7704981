//! The task that reads the changes, and what others ask it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pointsman_mirror::watch::{GRACE, IDLE};
use pointsman_model::{Chain, Revision};
use pointsman_store::pauses::Pauses;
use pointsman_store::{Store, StoreError, WatchItem};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::log::{EventLog, EventPage};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The last changes, for others to ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events {
    log: Arc<Mutex<EventLog>>,
    moved: watch::Receiver<()>,
}

/// The task that reads them.
#[derive(Debug)]
pub struct EventFollower {
    store: Arc<dyn Store>,
    log: Arc<Mutex<EventLog>>,
    moved: watch::Sender<()>,
}

impl EventFollower {
    /// A follower of what `store` has; nothing happens before
    /// [`EventFollower::run`].
    pub fn new(store: Arc<dyn Store>) -> (Self, Events) {
        let log = Arc::new(Mutex::new(EventLog::default()));
        let (moved, receiver) = watch::channel(());
        let events = Events {
            log: Arc::clone(&log),
            moved: receiver,
        };
        (Self { store, log, moved }, events)
    }

    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&self) {
        let mut pauses = Pauses::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match self.session(&mut pauses).await {
                Ok(()) => {}
                Err(StoreError::Compacted { compact_revision }) if compact_revision > 0 => {
                    warn!(compact_revision, "events before this revision are lost");
                    lock(&self.log).lose_before(compact_revision);
                }
                Err(error) => debug!(error = %Chain(&error), "events cannot be read, trying on"),
            }
            tokio::time::sleep(pauses.following()).await;
        }
    }

    /// Reads changes until the watch breaks off, or the registry is another one.
    async fn session(&self, pauses: &mut Pauses) -> Result<(), StoreError> {
        let (epoch, now) = self.store.get("epoch").await?;
        let Some(epoch) = epoch else {
            return Ok(());
        };
        let epoch = String::from_utf8_lossy(&epoch.value);
        let next = lock(&self.log).go_on(&epoch, now);
        let mut watch = self.store.history(next).await?;
        self.moved.send_replace(());
        let mut asked = false;
        loop {
            let patience = if asked { GRACE } else { IDLE };
            match timeout(patience, watch.next()).await {
                Ok(Ok(Some(WatchItem::Events(events)))) => {
                    pauses.reset();
                    if !lock(&self.log).take(events, now) {
                        return Ok(());
                    }
                    self.moved.send_replace(());
                    asked = false;
                }
                Ok(Ok(Some(WatchItem::Alive))) => asked = false,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(error),
                Err(silent) if asked => return Err(StoreError::Unavailable(silent.into())),
                Err(_) => {
                    asked = true;
                    watch.ping().await?;
                }
            }
        }
    }
}

impl Events {
    /// The changes after revision `since`, the oldest first: `limit` of them,
    /// and more only to have whole revisions. `None` while etcd was not read.
    pub fn after(&self, since: Revision, limit: usize) -> Option<EventPage> {
        self.ask(|log| log.after(since, limit))
    }

    /// The last changes, the oldest first: `limit` of them, and more only to
    /// have whole revisions. `None` while etcd was not read.
    pub fn last(&self, limit: usize) -> Option<EventPage> {
        self.ask(|log| log.last(limit))
    }

    /// Waits until etcd is read. Cancel safe.
    pub async fn begun(&self) {
        let mut events = self.clone();
        while events.ask(|_| ()).is_none() {
            events.moved().await;
        }
    }

    /// Waits until there may be more. Cancel safe. Never ready once the follower
    /// has ended.
    pub async fn moved(&mut self) {
        if self.moved.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn ask<T>(&self, question: impl FnOnce(&EventLog) -> T) -> Option<T> {
        let log = lock(&self.log);
        log.has_begun().then(|| question(&log))
    }
}

fn lock(log: &Mutex<EventLog>) -> MutexGuard<'_, EventLog> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}
