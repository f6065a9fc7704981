//! The reconciler: each agent compares etcd with its table, and the eldest
//! compares its table with Redis, slice by slice.
//!
//! Events are enough as long as nothing is lost; but etcd can lose a deletion
//! around a compaction, and anybody can write to Redis. What differs is only
//! reported here; the sync puts it right, behind the same fence as all else.
//!
//! Whether an event was lost or is only late shows by a barrier: a key that we
//! write ourselves. When its event has come, all before it have.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::Duration;

use pointsman_coordinate::presence;
use pointsman_mirror::SharedTable;
use pointsman_mirror::table::{Held, Table};
use pointsman_model::{Element, Key, Kind};
use pointsman_store::{Condition, Event, Revision, Store, StoreError, Written};
use rand::RngExt;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::debug;

use super::guard::Losses;
use crate::sink::{Found, Sink, SinkError};

/// How often a pass begins, with a quarter of jitter, unless told otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
/// Keys or elements in a slice.
const SLICE: usize = 500;
/// A slice is followed by a rest of so many times what it took.
const REST: u32 = 4;
/// How long a slice waits for the table to catch up with Redis, and a barrier
/// for its event.
const CATCH_UP: Duration = Duration::from_secs(5);
/// How long an event may be late before a barrier is put.
const LATE: Duration = Duration::from_secs(1);
const WAITING: usize = 1000;

/// Something that differs.
#[derive(Debug)]
pub(super) enum Finding {
    /// The table is wrong about a key; this is what etcd had at `at`, which
    /// was the table's revision.
    Key { at: Revision, event: Event },
    /// Redis is wrong about an element.
    Element(Element),
    /// Most of what is held would go, of some kind or of all: that needs a
    /// closer look, and perhaps a word of an operator.
    Doubt(String),
}

/// Why a pass was given up; the next one begins anew.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("{0}")]
    Unfit(&'static str),
}

/// The reconciler of one agent.
#[derive(Clone, Debug)]
pub(super) struct Reconciler {
    agent: String,
    store: Arc<dyn Store>,
    sink: Arc<dyn Sink>,
    table: SharedTable,
    found: mpsc::Sender<Finding>,
    pub(super) interval: Duration,
    pub(super) jitter: SmallRng,
}

/// A range of etcd's keys, and what the table holds of it.
struct Slice {
    from: String,
    to: String,
    known: BTreeMap<String, Revision>,
}

impl Reconciler {
    pub(super) fn new(
        agent: &str,
        store: Arc<dyn Store>,
        sink: Arc<dyn Sink>,
        table: SharedTable,
    ) -> (Self, mpsc::Receiver<Finding>) {
        let (found, findings) = mpsc::channel(WAITING);
        let reconciler = Self {
            agent: agent.to_owned(),
            store,
            sink,
            table,
            found,
            interval: INTERVAL,
            jitter: rand::make_rng(),
        };
        (reconciler, findings)
    }

    pub(super) async fn run(mut self) {
        loop {
            sleep(self.interval.mul_f64(self.jitter.random_range(0.75..1.25))).await;
            let begun = Instant::now();
            match self.pass().await {
                Ok(()) => debug!(took = ?begun.elapsed(), "reconciled"),
                Err(why) => debug!(%why, "gave a pass of the reconciler up"),
            }
        }
    }

    fn table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass(&self) -> Result<(), GivenUp> {
        let mut findings = Vec::new();
        for key in [Key::Settings, Key::Pending] {
            self.check_key(&key, &mut findings).await?;
        }
        self.check_names(
            Kind::Route.declaration().prefix(),
            Table::route_keys,
            &mut findings,
        )
        .await?;
        self.check_names(
            Kind::Pause.declaration().prefix(),
            Table::pause_keys,
            &mut findings,
        )
        .await?;
        self.check_names(
            Kind::App.declaration().prefix(),
            Table::policy_keys,
            &mut findings,
        )
        .await?;
        self.check_instances(&mut findings).await?;
        let mut losses = Losses::default();
        for finding in &findings {
            if let Finding::Key {
                event: Event::Delete { key, .. },
                ..
            } = finding
                && let Ok(key) = Key::parse(key)
            {
                losses.count(key.kind(), 0, 1);
            }
        }
        {
            let table = self.table();
            for kind in Kind::ALL {
                losses.count(*kind, table.count(*kind), 0);
            }
        }
        self.tell_unless_too_much(findings, &losses).await;

        if presence::eldest(self.table().agents()) != Some(&self.agent) {
            return Ok(());
        }
        self.check_records().await?;
        self.check_strays().await
    }

    /// Tells what was found, unless most of what is held would go by it.
    async fn tell_unless_too_much(&self, findings: Vec<Finding>, losses: &Losses) {
        if let Some(what) = losses.too_much() {
            return self.tell(Finding::Doubt(what)).await;
        }
        for finding in findings {
            self.tell(finding).await;
        }
    }

    async fn check_key(&self, key: &Key, findings: &mut Vec<Finding>) -> Result<(), GivenUp> {
        let key = key.to_string();
        let known = self.table().key_revision(&key);
        let known = known.map(|revision| (key.clone(), revision));
        let slice = Slice {
            to: format!("{key}\0"),
            from: key,
            known: known.into_iter().collect(),
        };
        self.check_slice(slice, findings).await
    }

    /// Checks the keys `<kind><name>`, against etcd.
    async fn check_names(
        &self,
        kind: &str,
        keys: impl Fn(&Table, Option<&str>, usize) -> Vec<(String, Revision)>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), GivenUp> {
        let mut after: Option<String> = None;
        let mut from = kind.to_owned();
        loop {
            let known = keys(&self.table(), after.as_deref(), SLICE);
            let last = known
                .last()
                .filter(|_| known.len() == SLICE)
                .map(|(key, _)| key.clone());
            let to = last
                .as_ref()
                .map_or_else(|| end_of(kind), |key| format!("{key}\0"));
            let known = known.into_iter().collect();
            let slice = Slice {
                from,
                to: to.clone(),
                known,
            };
            self.check_slice(slice, findings).await?;
            let Some(last) = last else {
                return Ok(());
            };
            after = last.strip_prefix(kind).map(str::to_owned);
            from = to;
        }
    }

    /// Checks the keys of all instances, against etcd, and those that say
    /// something about instances. Etcd has health before the instances, and
    /// overrides behind them: where these are few, they cost no call.
    async fn check_instances(&self, findings: &mut Vec<Finding>) -> Result<(), GivenUp> {
        let prefix = |kind: Kind| kind.declaration().prefix();
        let (health_keys, instances) = (prefix(Kind::Health), prefix(Kind::Instance));
        let overrides_keys = prefix(Kind::Override);
        let mut after: Option<String> = None;
        let mut health = self.table().health_keys(None, SLICE);
        let mut from = health_keys.to_owned();
        if health.len() == SLICE {
            self.check_names(health_keys, Table::health_keys, findings)
                .await?;
            health.clear();
            from = instances.to_owned();
        }
        loop {
            let mut slice = Slice {
                from,
                to: String::new(),
                known: health.drain(..).collect(),
            };
            let mut few_overrides = true;
            {
                let table = self.table();
                let known = table.instance_keys(after.as_deref(), SLICE);
                let last = known.last().filter(|_| known.len() == SLICE);
                let last = last.map(|(key, _)| key.clone());
                slice.known.extend(known);
                slice.to = match &last {
                    Some(key) => format!("{key}\0"),
                    None => {
                        let overrides = table.override_keys(None, SLICE);
                        few_overrides = overrides.len() < SLICE;
                        if few_overrides {
                            slice.known.extend(overrides);
                            end_of(overrides_keys)
                        } else {
                            end_of(instances)
                        }
                    }
                };
                after = last.and_then(|key| key.strip_prefix(instances).map(str::to_owned));
            }
            from = slice.to.clone();
            self.check_slice(slice, findings).await?;
            if after.is_some() {
                continue;
            }
            if !few_overrides {
                self.check_names(overrides_keys, Table::override_keys, findings)
                    .await?;
            }
            return Ok(());
        }
    }

    async fn check_slice(&self, slice: Slice, findings: &mut Vec<Finding>) -> Result<(), GivenUp> {
        let Slice {
            from,
            to,
            mut known,
        } = slice;
        if self.table().revision() == 0 {
            return Err(GivenUp::Unfit("the table is not filled yet"));
        }
        let begun = Instant::now();
        let (listed, at) = self.store.keys(&from, &to).await?;
        let mut suspects = BTreeMap::new();
        for (key, revision) in listed {
            if known.remove(&key) != Some(revision) && Key::parse(&key).is_ok() {
                suspects.insert(key, Some(revision));
            }
        }
        suspects.extend(known.into_keys().map(|key| (key, None)));
        self.drop_settled(&mut suspects, at);
        if !suspects.is_empty() {
            sleep(LATE).await;
            self.drop_settled(&mut suspects, at);
        }
        if !suspects.is_empty() {
            self.check_keys(suspects.into_keys(), findings).await?;
        }
        sleep(begun.elapsed() * REST).await;
        Ok(())
    }

    /// Drops the keys about which the table has come to know what etcd had at
    /// `at`, or something newer.
    fn drop_settled(&self, suspects: &mut BTreeMap<String, Option<Revision>>, at: Revision) {
        let table = self.table();
        suspects.retain(|key, listed| match (table.key_revision(key), *listed) {
            (Some(ours), Some(theirs)) => ours < theirs,
            (Some(ours), None) => ours <= at,
            (None, Some(_)) => true,
            (None, None) => false,
        });
    }

    /// Compares single keys, behind a barrier.
    async fn check_keys(
        &self,
        keys: impl Iterator<Item = String>,
        findings: &mut Vec<Finding>,
    ) -> Result<(), GivenUp> {
        let barrier = self.barrier().await?;
        self.wait_for(barrier).await?;
        for key in keys {
            let (at, ours) = {
                let table = self.table();
                (table.revision(), table.key_revision(&key))
            };
            let kv = self.store.get_at(&key, at).await?;
            if kv.as_ref().map(|kv| kv.mod_revision) != ours {
                let event = kv.map_or(
                    Event::Delete {
                        key,
                        mod_revision: at,
                    },
                    Event::Put,
                );
                findings.push(Finding::Key { at, event });
            }
        }
        Ok(())
    }

    /// Writes our own key once more; answers the revision of that.
    async fn barrier(&self) -> Result<Revision, GivenUp> {
        let key = format!("agents/{}", self.agent);
        let (kv, _) = self.store.get(&key).await?;
        let kv = kv.ok_or(GivenUp::Unfit("our own key is not there"))?;
        let condition = Condition::ModRevision(kv.mod_revision);
        match self.store.put(&key, &kv.value, kv.lease, condition).await? {
            Written::Done(revision) => Ok(revision),
            Written::Conflict(_) => Err(GivenUp::Unfit("our own key was written meanwhile")),
        }
    }

    /// Checks what Redis holds of all that the table holds.
    async fn check_records(&self) -> Result<(), GivenUp> {
        let mut after: Option<Element> = None;
        loop {
            let elements: Vec<_> = {
                let changes = self.table().records(after.as_ref(), SLICE);
                changes.into_iter().map(|change| change.element).collect()
            };
            let Some(last) = elements.last() else {
                return Ok(());
            };
            after = Some(last.clone());
            let begun = Instant::now();
            let reading = self.sink.read(&elements).await?;
            let at = self.caught_up(&reading.found).await?;
            let differing: Vec<_> = {
                let table = self.table();
                let unsure = table
                    .touched_since(at)
                    .ok_or(GivenUp::Unfit("too long ago"))?;
                let pairs = elements.into_iter().zip(reading.values);
                pairs
                    .filter(|(element, value)| {
                        let differs = match table.held(element) {
                            Held::Value(want) => Some(&want) != value.as_ref(),
                            Held::Nothing => value.is_some(),
                            Held::Frozen => false,
                        };
                        differs && !unsure.contains(element)
                    })
                    .map(|(element, _)| element)
                    .collect()
            };
            for element in differing {
                self.tell(Finding::Element(element)).await;
            }
            sleep(begun.elapsed() * REST).await;
        }
    }

    /// Checks whether Redis holds what the table does not know.
    async fn check_strays(&self) -> Result<(), GivenUp> {
        let (mut strays, mut losses) = (Vec::new(), Losses::default());
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            let begun = Instant::now();
            let before = self.sink.meta().await?;
            let page = self.sink.scan(from).await?;
            let after = self.sink.meta().await?;
            self.caught_up(&after).await?;
            cursor = page.next;
            {
                let table = self.table();
                let unsure = table
                    .touched_since(revision(&before)?)
                    .ok_or(GivenUp::Unfit("too long ago"))?;
                for element in page.elements {
                    let stray = table.held(&element) == Held::Nothing && !unsure.contains(&element);
                    losses.count(element.kind(), 1, usize::from(stray));
                    if stray {
                        strays.push(element);
                    }
                }
            }
            sleep(begun.elapsed() * REST).await;
        }
        let findings = strays.into_iter().map(Finding::Element).collect();
        self.tell_unless_too_much(findings, &losses).await;
        Ok(())
    }

    /// Waits until the table is not behind Redis; answers Redis's revision.
    async fn caught_up(&self, found: &Found) -> Result<Revision, GivenUp> {
        let at = revision(found)?;
        self.wait_for(at).await?;
        Ok(at)
    }

    async fn wait_for(&self, revision: Revision) -> Result<(), GivenUp> {
        let deadline = Instant::now() + CATCH_UP;
        while self.table().revision() < revision {
            if Instant::now() >= deadline {
                return Err(GivenUp::Unfit("the table does not catch up"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn tell(&self, finding: Finding) {
        self.found.send(finding).await.ok();
    }
}

fn revision(found: &Found) -> Result<Revision, GivenUp> {
    match found {
        Found::Table(meta) if meta.ready => Ok(meta.rev),
        _ => Err(GivenUp::Unfit("redis holds no whole table")),
    }
}

/// The first key behind all that begin with `kind`, which ends with a slash.
fn end_of(kind: &str) -> String {
    format!("{}0", kind.trim_end_matches('/'))
}
