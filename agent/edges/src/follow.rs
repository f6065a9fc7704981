//! The task that follows the reports, and what others ask it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard};
use std::time::Duration;

use pointsman_mirror::SharedTable;
use pointsman_mirror::table::Table;
use pointsman_model::{Chain, EdgeName, Kind, Revision};
use pointsman_store::pauses::Pauses;
use pointsman_store::{Condition, Store};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::fleet::{EdgeView, Fleet, Lacking};
use crate::report::Report;
use crate::source::{Announcement, ReportSource, SourceError};

/// How often edges that are silent are looked at.
const TICK: Duration = Duration::from_secs(1);
/// An edge reports every 2 s at the latest.
const SILENT: Duration = Duration::from_secs(3);
/// While nobody waits for edges, announcements gather for so long after a read:
/// each read costs a round trip, and of a thousand edges many report meanwhile.
const GATHERING: Duration = Duration::from_millis(100);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What edges report, for others to ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Edges {
    fleet: Arc<Mutex<Fleet>>,
    table: SharedTable,
    /// Whether reports can be read.
    heard: watch::Receiver<bool>,
    /// Somebody waits for a report.
    wanted: Arc<Notify>,
}

/// The task that follows them.
#[derive(Debug)]
pub struct EdgeFollower {
    store: Arc<dyn Store>,
    source: Arc<dyn ReportSource>,
    table: SharedTable,
    fleet: Arc<Mutex<Fleet>>,
    heard: watch::Sender<bool>,
    wanted: Arc<Notify>,
}

impl EdgeFollower {
    /// A follower of what `source` has; nothing happens before
    /// [`EdgeFollower::run`].
    pub fn new(
        store: Arc<dyn Store>,
        source: Arc<dyn ReportSource>,
        table: SharedTable,
    ) -> (Self, Edges) {
        let fleet = Arc::new(Mutex::new(Fleet::default()));
        let (heard, receiver) = watch::channel(false);
        let wanted = Arc::<Notify>::default();
        let edges = Edges {
            fleet: Arc::clone(&fleet),
            table: Arc::clone(&table),
            heard: receiver,
            wanted: Arc::clone(&wanted),
        };
        let follower = Self {
            store,
            source,
            table,
            fleet,
            heard,
            wanted,
        };
        (follower, edges)
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
            if let Err(error) = self.session(&mut pauses).await {
                if self.heard.send_replace(false) {
                    warn!(error = %Chain(&error), "edges' reports cannot be read, trying on");
                } else {
                    debug!(error = %Chain(&error), "edges' reports cannot be read");
                }
            }
            sleep(pauses.following()).await;
        }
    }

    /// Follows the announcements until their channel closes. What was announced
    /// before it was open is read first.
    async fn session(&self, pauses: &mut Pauses) -> Result<(), SourceError> {
        let mut announcements = self.source.announcements().await?;
        self.learn();
        let all = self.fleet().names().map(str::to_owned).collect();
        self.read(all).await?;
        pauses.reset();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                news = announcements.next() => {
                    if news.is_empty() {
                        return Ok(());
                    }
                    self.take(news).await?;
                    self.gather().await;
                }
                _ = tick.tick() => self.tick().await?,
            }
        }
    }

    /// Somebody who waits is not kept waiting by it.
    async fn gather(&self) {
        tokio::select! {
            () = sleep(GATHERING) => {}
            () = self.wanted.notified() => {}
        }
    }

    async fn take(&self, news: Vec<Announcement>) -> Result<(), SourceError> {
        let mut quitting = BTreeSet::new();
        let mut names = BTreeSet::new();
        for announcement in news {
            let name = match announcement {
                Announcement::Report(name) => name,
                Announcement::Goodbye(name) => {
                    quitting.insert(name.clone());
                    name
                }
            };
            match EdgeName::new(&name) {
                Ok(_) => {
                    names.insert(name);
                }
                Err(bad) => debug!(%bad, "not an announcement"),
            }
        }
        self.read(names.into_iter().collect()).await?;
        for name in quitting {
            // One that has a report is back already.
            if self.fleet().is_missing(&name) {
                self.leave(&name).await;
            }
        }
        Ok(())
    }

    /// Looks at what is silent, and at the names in etcd. An edge that reports
    /// and is silent is one whose announcements do not come.
    async fn tick(&self) -> Result<(), SourceError> {
        let revision = read(&self.table).revision();
        self.learn();
        let silent = {
            let mut fleet = self.fleet();
            fleet.tick(revision);
            fleet.silent_for(SILENT)
        };
        match self.read(silent).await? {
            0 => Ok(()),
            _ => Err(SourceError("announcements of edges are not heard".into())),
        }
    }

    /// Brings the names to those in etcd. An edge that reports and is not there
    /// yet is about to be.
    fn learn(&self) {
        let table = read(&self.table);
        let mut fleet = self.fleet();
        learn(&mut fleet, &table);
        let gone = fleet.names().filter(|name| !table.has_edge(name));
        let gone = gone.filter(|name| fleet.is_missing(name));
        let gone: Vec<_> = gone.map(str::to_owned).collect();
        for name in gone {
            fleet.forget(&name);
        }
    }

    /// Reads the reports of these edges; answers how many are new.
    async fn read(&self, names: Vec<String>) -> Result<usize, SourceError> {
        let hashes = match names.is_empty() {
            true => Vec::new(),
            false => self.source.read(&names).await?,
        };
        let (mut unknown, mut new) = (Vec::new(), 0);
        {
            let table = read(&self.table);
            let mut fleet = self.fleet();
            for (name, fields) in names.into_iter().zip(hashes) {
                let report = fields.and_then(|fields| parse(&name, &fields));
                if report.is_none() && !table.has_edge(&name) && fleet.is_missing(&name) {
                    continue;
                }
                if report.is_some() && !table.has_edge(&name) {
                    unknown.push(name.clone());
                }
                new += usize::from(fleet.take(&name, report));
            }
        }
        self.heard.send_replace(true);
        for name in unknown {
            self.note(&name).await;
        }
        Ok(new)
    }

    /// Keeps the name of an edge in etcd.
    async fn note(&self, name: &str) {
        let key = key(name);
        let written = self.store.put(&key, b"{}", 0, Condition::Absent);
        match written.await {
            Ok(_) => info!(edge = name, "heard from an edge"),
            // It is tried again when the edge reports again.
            Err(error) => warn!(edge = name, error = %Chain(&error), "an edge is not noted"),
        }
    }

    /// Forgets an edge that has quit.
    async fn leave(&self, name: &str) {
        let key = key(name);
        let revision = read(&self.table).key_revision(&key);
        if let Some(revision) = revision {
            let condition = Condition::ModRevision(revision);
            match self.store.delete(&key, condition).await {
                Ok(_) => info!(edge = name, "an edge has quit"),
                Err(error) => {
                    warn!(edge = name, error = %Chain(&error), "an edge that has quit stays noted");
                    return;
                }
            }
        }
        self.fleet().forget(name);
        self.heard.send_replace(true);
    }

    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(name: &str, fields: &[(String, String)]) -> Option<Report> {
    match Report::from_fields(fields) {
        Ok(report) => Some(report),
        Err(error) => {
            debug!(edge = name, %error, "not a report");
            None
        }
    }
}

/// The key in etcd that keeps an edge's name.
fn key(name: &str) -> String {
    format!("{}{name}", Kind::Edge.declaration().prefix())
}

impl Edges {
    /// All edges by name; `None` while reports cannot be read.
    pub fn list(&self) -> Option<Vec<EdgeView>> {
        self.ask(|fleet, table| fleet.list(table.epoch(), table.revision()))
    }

    /// The edges that have not applied `revision`; `None` while reports cannot
    /// be read.
    pub fn lacking(&self, revision: Revision) -> Option<Vec<Lacking>> {
        self.ask(|fleet, table| fleet.lacking(table.epoch(), revision))
    }

    /// The edges that have not applied the draining of `<app>/<id>`, which was
    /// made at `revision`, or have requests in flight on that instance; `None`
    /// while reports cannot be read.
    pub fn undrained(&self, revision: Revision, app: &str, id: &str) -> Option<Vec<Lacking>> {
        let instance = format!("{app}/{id}");
        self.ask(|fleet, table| fleet.undrained(table.epoch(), revision, &instance))
    }

    /// Waits until one of the questions above may have another answer. Cancel
    /// safe. Never ready once the follower has ended.
    pub async fn moved(&mut self) {
        self.wanted.notify_one();
        if self.heard.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Asks about all edges, also those whose names have only just come.
    fn ask<T>(&self, question: impl FnOnce(&Fleet, &Table) -> T) -> Option<T> {
        let can_read = *self.heard.borrow();
        let table = read(&self.table);
        if !can_read || table.revision() == 0 {
            return None;
        }
        let mut fleet = self.fleet.lock().unwrap_or_else(PoisonError::into_inner);
        learn(&mut fleet, &table);
        Some(question(&fleet, &table))
    }
}

/// Learns the names of the table.
fn learn(fleet: &mut Fleet, table: &Table) {
    table.edges().for_each(|name| fleet.learn(name));
}

fn read(table: &SharedTable) -> RwLockReadGuard<'_, Table> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}
