//! The links between an agent and its stores: messages are delayed, lost,
//! answered too late, or arrive twice.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pointsman_memory::MemoryStore;
use pointsman_model::{Change, Element};
use pointsman_publish::sink::script::{self, Protocol, ScriptCall};
use pointsman_publish::sink::{
    Batch, BatchOutcome, Claim, Found, Reading, RebuildStep, Scanned, Sink, SinkError,
};
use pointsman_store::{
    Compare, KeyValue, Lease, LeaseId, Op, Page, Revision, Store, StoreError, Watch, WatchItem,
    Written,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::check::Checker;
use crate::redis::{self, Data, Item};

/// What the agents' clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The latest that a message arrives.
const LATEST: u64 = 20_000;
/// Elements in a page of a scan.
const PAGE: usize = 3;

/// Who answers, as an index of how late.
#[derive(Clone, Copy)]
pub enum LinkSide {
    /// etcd.
    Store = 0,
    /// Redis.
    Sink = 1,
}

/// Redis, and what watches over it.
pub struct Sim {
    /// What it holds.
    pub data: Data,
    /// What it held after each action.
    pub snapshots: Vec<Data>,
    /// The watch over it.
    pub checker: Checker,
    /// Whether it is away.
    pub sink_down: bool,
    /// How late each answer of etcd comes, and each of Redis.
    pub late: [Duration; 2],
    /// So many messages of a hundred meet a fault.
    pub noise: u8,
    /// Messages that have not arrived yet.
    pub under_way: usize,
    rng: SmallRng,
}

impl Shared {
    /// An empty Redis.
    pub fn new(seed: u64, checker: Checker) -> Self {
        Self(Arc::new(Mutex::new(Sim {
            data: Data::new(),
            snapshots: Vec::new(),
            checker,
            sink_down: false,
            late: [Duration::ZERO; 2],
            noise: 0,
            under_way: 0,
            rng: SmallRng::seed_from_u64(seed),
        })))
    }
}

impl Sim {
    /// Whether a sign of life comes before the events that it should follow.
    fn overtakes(&mut self) -> bool {
        self.rng.random_range(0..100) < self.noise / 2
    }
}

/// The simulated world that all links share.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<Sim>>);

impl Shared {
    /// Looks at it, or changes it. Never held over an await.
    pub fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn late(&self, side: LinkSide) -> Duration {
        self.lock().late[side as usize]
    }

    /// From here on this side's answers come so late.
    pub fn set_late(&self, side: LinkSide, ms: u64) {
        self.lock().late[side as usize] = Duration::from_millis(ms);
    }

    fn fate(&self) -> Fate {
        let mut sim = self.lock();
        let noise = sim.noise;
        let rng = &mut sim.rng;
        let brief = |rng: &mut SmallRng| Duration::from_micros(rng.random_range(50..3000));
        let mut fate = Fate {
            before: brief(rng),
            after: brief(rng),
            arrives: true,
            answered: true,
            again: None,
        };
        if rng.random_range(0..100) < noise {
            match rng.random_range(0..4) {
                0 => fate.arrives = false,
                1 => fate.answered = false,
                2 => fate.before = Duration::from_millis(rng.random_range(10..LATEST)),
                _ => fate.again = Some(Duration::from_millis(rng.random_range(1..LATEST))),
            }
        }
        fate
    }
}

/// Where a scan finds an element.
fn place(element: &Element) -> u64 {
    let mut hasher = DefaultHasher::new();
    element.to_string().hash(&mut hasher);
    // 0 is where a scan begins.
    hasher.finish().max(1)
}

/// What becomes of a message.
struct Fate {
    before: Duration,
    after: Duration,
    arrives: bool,
    answered: bool,
    again: Option<Duration>,
}

/// One agent's links.
#[derive(Clone)]
pub struct Link {
    sim: Shared,
    store: MemoryStore,
    protocol: Protocol,
    /// Whether the agent stands still.
    paused: watch::Receiver<bool>,
    /// How many watches the agent has open.
    watches: watch::Sender<usize>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Link {
    /// The links of an agent.
    pub fn new(
        sim: Shared,
        store: MemoryStore,
        protocol: Protocol,
        paused: watch::Receiver<bool>,
    ) -> Self {
        Self {
            sim,
            store,
            protocol,
            paused,
            watches: watch::Sender::new(0),
        }
    }

    /// How many watches the agent has open.
    pub fn watches(&self) -> watch::Receiver<usize> {
        self.watches.subscribe()
    }

    async fn not_paused(&self) {
        self.paused.clone().wait_for(|paused| !paused).await.ok();
    }

    /// Sends a message. What is under way arrives though its sender is gone.
    async fn send<T, F>(&self, to: LinkSide, handle: impl Fn() -> F + Send + 'static) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send,
    {
        self.not_paused().await;
        let fate = self.sim.fate();
        let late = self.sim.late(to);
        let sim = self.sim.clone();
        sim.lock().under_way += 1;
        let arrival = tokio::spawn(async move {
            sleep(fate.before).await;
            let answer = if fate.arrives {
                Some(handle().await)
            } else {
                None
            };
            if let Some(later) = fate.again {
                let sim = sim.clone();
                sim.lock().under_way += 1;
                tokio::spawn(async move {
                    sleep(later).await;
                    handle().await;
                    sim.lock().under_way -= 1;
                });
            }
            sim.lock().under_way -= 1;
            sleep(late).await;
            answer
        });
        let answer = timeout(PATIENCE, arrival).await.ok()?.ok().flatten();
        sleep(fate.after).await;
        self.not_paused().await;
        if !fate.answered {
            sleep(PATIENCE).await;
            return None;
        }
        answer
    }

    async fn to_store<T, F>(
        &self,
        handle: impl Fn(MemoryStore) -> F + Send + 'static,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send,
    {
        let store = self.store.clone();
        let answer = self.send(LinkSide::Store, move || handle(store.clone()));
        let answer = answer.await;
        answer.unwrap_or_else(|| Err(StoreError::Unavailable("lost".into())))
    }

    async fn to_sink<T: Send + 'static>(
        &self,
        handle: impl Fn(&mut Data) -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<T, SinkError> {
        let sim = self.sim.clone();
        let handle = Arc::new(handle);
        let answer = self
            .send(LinkSide::Sink, move || {
                let (sim, handle) = (sim.clone(), Arc::clone(&handle));
                async move {
                    let mut sim = sim.lock();
                    if sim.sink_down {
                        return Err("away".to_owned());
                    }
                    let Sim { data, checker, .. } = &mut *sim;
                    checker.before(data);
                    let answer = handle(data);
                    checker.after(data);
                    answer
                }
            })
            .await;
        match answer {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(SinkError::Unavailable(error.into())),
            None => Err(SinkError::Unavailable("lost".into())),
        }
    }

    async fn script(&self, call: ScriptCall) -> Result<(String, String), SinkError> {
        self.to_sink(move |data| redis::call(data, &call)).await
    }
}

#[async_trait]
impl Sink for Link {
    fn format(&self) -> u32 {
        self.protocol.format
    }

    async fn meta(&self) -> Result<Found, SinkError> {
        let key = self.protocol.key("meta");
        self.to_sink(move |data| {
            Ok(match data.get(&key) {
                None => Found::Nothing,
                Some(Item::Hash(hash)) => {
                    script::found(script::META_FIELDS.map(|field| hash.get(field).cloned()))
                }
                Some(_) => Found::Broken("meta is not a hash".into()),
            })
        })
        .await
    }

    async fn batch(&self, batch: &Batch) -> Result<BatchOutcome, SinkError> {
        self.script(self.protocol.batch(batch))
            .await
            .map(script::outcome)
    }

    async fn begin(&self, claim: &Claim) -> Result<RebuildStep, SinkError> {
        self.script(self.protocol.begin(claim))
            .await
            .map(script::step)
    }

    async fn piece(
        &self,
        token: Revision,
        n: u64,
        changes: &[Change],
    ) -> Result<RebuildStep, SinkError> {
        self.script(self.protocol.piece(token, n, changes))
            .await
            .map(script::step)
    }

    async fn end(
        &self,
        token: Revision,
        n: u64,
        revision: Revision,
    ) -> Result<RebuildStep, SinkError> {
        self.script(self.protocol.end(token, n, revision))
            .await
            .map(script::step)
    }

    async fn read(&self, elements: &[Element]) -> Result<Reading, SinkError> {
        let call = self.protocol.read(elements);
        let answer = self
            .to_sink(move |data| redis::call_for_lists(data, &call))
            .await;
        answer.map(script::reading)
    }

    /// A page at a time, in the order of hashes: as with Redis, what is there
    /// from the first page to the last is found, and of the rest some.
    async fn scan(&self, cursor: u64) -> Result<Scanned, SinkError> {
        let prefix = self.protocol.prefix.clone();
        self.to_sink(move |data| {
            let elements = crate::check::elements(data, &prefix).into_iter();
            let placed = elements.map(|element| (place(&element), element));
            let mut rest: Vec<_> = placed.filter(|(place, _)| *place >= cursor).collect();
            rest.sort();
            let next = rest.get(PAGE).map(|(place, _)| *place);
            rest.retain(|(place, _)| next.is_none_or(|next| *place < next));
            Ok(Scanned {
                elements: rest.into_iter().map(|(_, element)| element).collect(),
                next,
            })
        })
        .await
    }
}

#[async_trait]
impl Store for Link {
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let from = from.to_owned();
        self.to_store(move |store| {
            let from = from.clone();
            async move { store.list(&from, limit, at).await }
        })
        .await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let key = key.to_owned();
        self.to_store(move |store| {
            let key = key.clone();
            async move { store.get(&key).await }
        })
        .await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.not_paused().await;
        let inner = self.store.watch(from).await?;
        sleep(self.sim.late(LinkSide::Store)).await;
        self.watches.send_modify(|count| *count += 1);
        Ok(Box::new(LinkedWatch {
            inner,
            link: self.clone(),
            held: None,
        }))
    }

    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        let (compares, ops) = (compares.to_vec(), ops.to_vec());
        self.to_store(move |store| {
            let (compares, ops) = (compares.clone(), ops.clone());
            async move { store.txn(&compares, &ops).await }
        })
        .await
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        self.to_store(move |store| async move { store.lease_grant(ttl).await })
            .await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.to_store(move |store| async move { store.lease_renew(lease).await })
            .await
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError> {
        self.to_store(move |store| async move { store.lease(lease).await })
            .await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.to_store(move |store| async move { store.lease_revoke(lease).await })
            .await
    }
}

/// A watch behind a link: in order and complete, as HTTP/2 makes it, but late.
struct LinkedWatch {
    inner: Box<dyn Watch>,
    link: Link,
    /// What came, and when it arrives: a caller that gives up waiting must find
    /// it the next time.
    held: Option<(Instant, Result<Option<WatchItem>, StoreError>)>,
}

impl Drop for LinkedWatch {
    fn drop(&mut self) {
        self.link.watches.send_modify(|count| *count -= 1);
    }
}

#[async_trait]
impl Watch for LinkedWatch {
    async fn next(&mut self) -> Result<Option<WatchItem>, StoreError> {
        self.link.not_paused().await;
        if self.link.sim.lock().overtakes() {
            return Ok(Some(WatchItem::Alive));
        }
        let due = match &self.held {
            Some((due, _)) => *due,
            None => {
                let item = self.inner.next().await;
                let due = Instant::now() + self.link.sim.late(LinkSide::Store);
                self.held = Some((due, item));
                due
            }
        };
        sleep_until(due).await;
        self.link.not_paused().await;
        self.held.take().map_or(Ok(None), |(_, item)| item)
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        self.inner.ping().await
    }
}
