//! What the tests are made of: instances that are made up, agents, and a registry.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use pointsman_memory::MemoryStore;
use pointsman_mirror::{ListProgress, Mirror};
use pointsman_store::Condition;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::attempt::ProbeFault;
use crate::*;

pub(super) const SECOND: Duration = Duration::from_secs(1);
/// That of tokio's timers.
pub(super) const GRAIN: Duration = Duration::from_millis(1);
/// The mark of an instance that is well.
pub(super) const UP: &str = r#"{"up":true}"#;
pub(super) const CHECK: &str = r#"{"health_check":{"interval":"10s","rise":2,"fall":3}}"#;

/// Instances that are made up: how they answer, and when they were asked.
#[derive(Debug, Default)]
pub(super) struct Instances {
    /// Which are not well, by address.
    pub(super) bad: Mutex<BTreeMap<SocketAddr, Outcome>>,
    pub(super) takes: Mutex<Duration>,
    pub(super) asked: Mutex<BTreeMap<SocketAddr, Vec<Instant>>>,
    pub(super) under_way: AtomicUsize,
    pub(super) most: AtomicUsize,
}

/// Counts a probe that is under way, for as long as it is.
struct UnderWay<'a>(&'a AtomicUsize);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Ask for Instances {
    async fn ask(&self, _: &HealthCheck, addr: SocketAddr) -> Outcome {
        let now = Instant::now();
        self.asked
            .lock()
            .unwrap()
            .entry(addr)
            .or_default()
            .push(now);
        let under_way = self.under_way.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(under_way, Ordering::Relaxed);
        let _counted = UnderWay(&self.under_way);
        let takes = *self.takes.lock().unwrap();
        sleep(takes).await;
        let bad = self.bad.lock().unwrap().get(&addr).cloned();
        bad.unwrap_or(Outcome::Good)
    }
}

impl Instances {
    pub(super) fn set_bad(&self, addr: &str, bad: bool) {
        let addr = addr.parse().unwrap();
        let outcome = Outcome::Bad(ProbeFault::Status, "status 503".into());
        let mut all = self.bad.lock().unwrap();
        if bad {
            all.insert(addr, outcome);
        } else {
            all.remove(&addr);
        }
    }

    pub(super) fn asked(&self, addr: &str) -> Vec<Instant> {
        let asked = self.asked.lock().unwrap();
        asked
            .get(&addr.parse().unwrap())
            .cloned()
            .unwrap_or_default()
    }
}

/// An agent: a table that follows the store, and a prober.
pub(super) struct Agent {
    pub(super) tasks: Vec<JoinHandle<()>>,
    pub(super) instances: Arc<Instances>,
    pub(super) registry: Registry,
    pub(super) table: SharedTable,
    pub(super) stop: CancellationToken,
}

impl Agent {
    pub(super) fn start(id: &str, store: &MemoryStore) -> Self {
        Self::start_with(id, store, &Arc::default(), 1_000)
    }

    pub(super) fn start_with(
        id: &str,
        store: &MemoryStore,
        asked: &Arc<Instances>,
        limit: usize,
    ) -> Self {
        let instances = Arc::clone(asked);
        let mut registry = Registry::with_prefix("pointsman_agent");
        let metrics = ProbeMetrics::register(&mut registry);
        let mirror = Mirror::new(Arc::new(store.clone()));
        let table = Arc::clone(mirror.table());
        let shared = Arc::new(store.clone());
        let mut prober = Prober::new(id, shared, mirror.subscribe(), metrics);
        prober.ask = Arc::clone(&instances) as Arc<dyn Ask>;
        prober.limit = limit;
        let stop = CancellationToken::new();
        let feed = feed(store.clone(), mirror);
        let tasks = vec![tokio::spawn(feed), tokio::spawn(prober.run(stop.clone()))];
        Self {
            tasks,
            instances,
            registry,
            table,
            stop,
        }
    }

    /// A metric's value.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).unwrap();
        let name = format!("pointsman_agent_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&name));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Drives the mirror.
pub(super) async fn feed(store: MemoryStore, mut mirror: Mirror) {
    let named = store.put("epoch", b"e", 0, Condition::Absent);
    named.await.unwrap();
    let mut listing = mirror.listing("e", None);
    while !matches!(listing.step().await, ListProgress::Complete) {}
    mirror.take(listing);
    loop {
        mirror.step().await;
    }
}

pub(super) async fn put(store: &MemoryStore, key: &str, value: &str) {
    let put = store.put(key, value.as_bytes(), 0, Condition::Always);
    put.await.unwrap();
}

pub(super) async fn delete(store: &MemoryStore, key: &str) {
    store.delete(key, Condition::Present).await.unwrap();
}

pub(super) async fn mark_of(store: &MemoryStore, name: &str) -> Option<String> {
    let found = store.get(&format!("health/{name}")).await.unwrap().0;
    found.map(|kv| String::from_utf8(kv.value).unwrap())
}

/// A registry with an agent's key, an app with a check, and its instances.
pub(super) async fn registry(instances: &[(&str, &str)]) -> MemoryStore {
    let store = MemoryStore::new();
    put(&store, "agents/a", "{}").await;
    put(&store, "apps/shop", CHECK).await;
    for (id, addr) in instances {
        put(&store, &format!("instances/shop/{id}"), addr).await;
    }
    store
}

/// Lets so many intervals pass.
pub(super) async fn intervals(count: u32) {
    sleep(SECOND * 10 * count).await;
    settled().await;
}

/// Whatever has become due begins, ends, and is written: the paused clock goes
/// on only when every task waits for it.
pub(super) async fn settled() {
    sleep(GRAIN).await;
}

pub(super) const A: &str = "10.0.0.1:80";
pub(super) const B: &str = "10.0.0.2:80";
