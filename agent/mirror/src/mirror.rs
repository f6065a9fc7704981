//! The copy as a whole: the table, the watcher that keeps it up to date, and
//! those that follow it.
//!
//! One task drives it, step by step, and may choose the revision to list at.
//! Any number of others subscribe: each is told that the table has moved, and
//! asks it what was touched since it looked last. No subscriber can hold up the
//! others, and a slow one costs no memory.

use std::future::pending;
use std::panic::resume_unwind;
use std::sync::{Arc, RwLock, RwLockReadGuard};

use pointsman_model::Change;
use pointsman_store::{Event, KeyValue, Revision, Store, StoreError};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::table::Table;
use crate::table::steps::{self, read, write};
use crate::watch::{End, Watcher, WatcherStep};

/// Taking in or dropping this many keys takes some milliseconds.
const MANY: usize = 2_000;

/// The table as others read it. Hold the guard for a moment only: ask for pages
/// of what may be long, and let go of it between them.
pub type SharedTable = Arc<RwLock<Table>>;

/// A copy of the registry.
#[derive(Debug)]
pub struct Mirror {
    store: Arc<dyn Store>,
    table: SharedTable,
    /// What the table follows; none until it is listed again.
    watcher: Option<Watcher>,
    moved: watch::Sender<Revision>,
}

/// A subscriber's view of the copy.
#[derive(Clone, Debug)]
pub struct Subscription {
    table: SharedTable,
    moved: watch::Receiver<Revision>,
}

/// What a step brought.
#[derive(Debug)]
pub enum Progress {
    /// The watch is open (again).
    Watching,
    /// The number of events that were taken into the table, and what each
    /// revision changes in Redis.
    Moved(usize, Vec<(Revision, Vec<Change>)>),
    /// Something failed; the watcher goes on by itself after a pause.
    Failed(StoreError),
    /// The copy cannot be relied on: it must be listed again.
    Ended(End),
}

/// What a step of a listing brought.
#[derive(Debug)]
pub enum ListProgress {
    /// Some keys.
    Page,
    /// All of them.
    Complete,
    /// Something failed; the listing goes on by itself after a pause.
    Failed(StoreError),
    /// It cannot go on.
    Ended(End),
}

impl Mirror {
    /// An empty copy of what `store` holds.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            table: SharedTable::default(),
            watcher: None,
            moved: watch::Sender::new(0),
        }
    }

    /// Follows the copy.
    pub fn subscribe(&self) -> Subscription {
        Subscription {
            table: Arc::clone(&self.table),
            moved: self.moved.subscribe(),
        }
    }

    /// What is copied.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The table, to be shared.
    pub fn table(&self) -> &SharedTable {
        &self.table
    }

    /// The table as it is now.
    pub fn read(&self) -> RwLockReadGuard<'_, Table> {
        read(&self.table)
    }

    /// The registry that is followed; none until it is listed again.
    pub fn follows(&self) -> Option<&str> {
        self.watcher.as_ref().map(Watcher::epoch)
    }

    /// Whether a watch of it is open.
    pub fn is_watching(&self) -> bool {
        self.watcher.as_ref().is_some_and(Watcher::is_watching)
    }

    /// Whether the registry has got another name than the one that is followed.
    pub fn is_renamed(&self) -> bool {
        self.follows()
            .is_some_and(|epoch| self.read().epoch() != Some(epoch))
    }

    /// Gives up following: the copy must be listed again.
    pub fn doubt(&mut self) {
        self.watcher = None;
    }

    /// Begins to list the registry `epoch`, at revision `at` or otherwise as it
    /// is now. The old table is shown until [`Mirror::take`].
    pub fn listing(&self, epoch: &str, at: Option<Revision>) -> Listing {
        Listing {
            watcher: Watcher::new(Arc::clone(&self.store), epoch, at),
            table: Table::new(),
            page: Vec::new(),
        }
    }

    /// Takes a complete listing over, and follows from there on.
    pub fn take(&mut self, listing: Listing) {
        let Listing {
            watcher, mut table, ..
        } = listing;
        table.keep_from(&self.read());
        let revision = table.revision();
        std::mem::swap(&mut *write(&self.table), &mut table);
        if is_large(&table) {
            spawn_blocking(move || drop(table));
        }
        self.watcher = Some(watcher);
        self.moved.send_replace(revision);
    }

    /// Does the next step. Cancel safe. While nothing is followed, there is
    /// none.
    pub async fn step(&mut self) -> Progress {
        let Some(watcher) = &mut self.watcher else {
            return pending().await;
        };
        loop {
            match watcher.step().await {
                WatcherStep::Events(revisions) => return self.apply(&revisions),
                WatcherStep::Watching => return Progress::Watching,
                WatcherStep::Failed(error) => return Progress::Failed(error),
                WatcherStep::Ended(end) => return Progress::Ended(end),
                WatcherStep::Page(_) | WatcherStep::Listed(_) => {}
            }
        }
    }

    /// Puts right what the table has wrong about a key; answers what that
    /// changes in Redis.
    pub fn correct(&mut self, event: &Event) -> Vec<Change> {
        let changes = steps::correct(&self.table, event);
        self.moved.send_replace(self.read().revision());
        changes
    }

    fn apply(&self, revisions: &[(Revision, Vec<Event>)]) -> Progress {
        let changes = revisions.iter().map(|(revision, events)| {
            let changes = steps::apply(&self.table, *revision, events);
            (*revision, changes)
        });
        let changes = changes.collect();
        self.moved.send_replace(self.read().revision());
        let events = revisions.iter().map(|(_, events)| events.len()).sum();
        Progress::Moved(events, changes)
    }
}

impl Subscription {
    /// Waits until the table has moved since the last call; `false` when it
    /// never will again.
    pub async fn moved(&mut self) -> bool {
        self.moved.changed().await.is_ok()
    }

    /// The table, to be shared.
    pub fn table(&self) -> &SharedTable {
        &self.table
    }

    /// The table as it is now.
    pub fn read(&self) -> RwLockReadGuard<'_, Table> {
        read(&self.table)
    }
}

/// A listing under way.
#[derive(Debug)]
pub struct Listing {
    watcher: Watcher,
    table: Table,
    /// What was read and is still to be taken in.
    page: Vec<KeyValue>,
}

impl Listing {
    /// The same listing, with the pauses of its watcher drawn from `seed`.
    #[must_use]
    pub fn seeded(self, seed: u64) -> Self {
        let watcher = self.watcher.seeded(seed);
        Self { watcher, ..self }
    }

    /// Does the next step. While a page is taken in, the next one is on its
    /// way.
    pub async fn step(&mut self) -> ListProgress {
        let page = std::mem::take(&mut self.page);
        let is_long = page.len() >= MANY;
        let take = move |table: &mut Table| page.iter().for_each(|kv| table.load(kv));
        let taken = aside(std::mem::take(&mut self.table), is_long, take);
        let (step, table) = tokio::join!(self.watcher.step(), taken);
        self.table = table;
        match step {
            WatcherStep::Listed(revision) => {
                let table = std::mem::take(&mut self.table);
                let is_much = is_large(&table);
                self.table = aside(table, is_much, move |table| table.loaded(revision)).await;
                ListProgress::Complete
            }
            WatcherStep::Page(items) => {
                self.page = items;
                ListProgress::Page
            }
            WatcherStep::Failed(error) => ListProgress::Failed(error),
            WatcherStep::Ended(end) => ListProgress::Ended(end),
            WatcherStep::Watching | WatcherStep::Events(_) => ListProgress::Page,
        }
    }
}

/// Runs `work` on a table that is not shared yet; in another thread if `is_much`,
/// so that the next page is read meanwhile.
async fn aside(
    mut table: Table,
    is_much: bool,
    work: impl FnOnce(&mut Table) + Send + 'static,
) -> Table {
    let work = move || {
        work(&mut table);
        table
    };
    if !is_much {
        return work();
    }
    match spawn_blocking(work).await {
        Ok(table) => table,
        Err(panicked) => resume_unwind(panicked.into_panic()),
    }
}

fn is_large(table: &Table) -> bool {
    let counts = table.counts();
    counts.routes + counts.apps + counts.instances >= MANY
}
