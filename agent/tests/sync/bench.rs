//! A store in memory, a real Redis, and some agents' syncs between them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pointsman_harness::records::{self, REDIS_PREFIX as PREFIX};
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::services::{RedisProcess, Service};
use pointsman_harness::wait;
use pointsman_memory::MemoryStore;
use pointsman_mirror::Mirror;
use pointsman_mirror::table::{Held, Table};
use pointsman_model::Element;
use pointsman_publish::sink::FORMAT;
use pointsman_publish::sink::redis::RedisSink;
use pointsman_publish::{Observe, Phase, Publisher, QueueLimits, SyncStatus};
use pointsman_store::{Condition, Store};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub const SHOP: &str = r#"{"app":"shop"}"#;
/// Most takes milliseconds; but a rebuild that stands still is waited for five
/// seconds, and a table of 200,000 records takes its time in a debug build.
const PATIENCE: Duration = Duration::from_secs(120);
const RARELY: Duration = Duration::from_secs(3600);
/// Redis's stream of changes, in bytes.
pub const STREAM_BYTES: usize = 4 << 20;

pub struct Bench {
    pub store: MemoryStore,
    redis: RedisProcess,
    connection: redis::aio::MultiplexedConnection,
    agents: Vec<Agent>,
    _sandbox: Sandbox,
}

struct Agent {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
    status: watch::Receiver<SyncStatus>,
    listings: Arc<Listings>,
}

/// How often an agent listed all of etcd.
#[derive(Debug, Default)]
struct Listings(AtomicUsize);

impl Observe for Listings {
    fn listed(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bench {
    pub async fn start() -> Self {
        let sandbox = Sandbox::new("pointsman-sync-");
        let mut redis = sandbox.redis("redis").unwrap();
        redis.ready().await.unwrap();
        let connection = records::connect(&redis.url()).await.unwrap();
        Self {
            store: MemoryStore::new(),
            redis,
            connection,
            agents: Vec::new(),
            _sandbox: sandbox,
        }
    }

    pub fn add_agent(&mut self, name: &str) {
        self.add(name, FORMAT, RARELY, QueueLimits::default());
    }

    pub fn add_limited_agent(&mut self, name: &str, limits: QueueLimits) {
        self.add(name, FORMAT, RARELY, limits);
    }

    pub fn add_reconciling_agent(&mut self, name: &str) {
        self.add(
            name,
            FORMAT,
            Duration::from_millis(100),
            QueueLimits::default(),
        );
    }

    pub fn add_agent_of_format(&mut self, name: &str, format: u32) {
        self.add(name, format, RARELY, QueueLimits::default());
    }

    fn add(&mut self, name: &str, format: u32, reconcile: Duration, limits: QueueLimits) {
        let sink = self.sink().with_stream_bytes(STREAM_BYTES);
        let sink = Arc::new(sink.with_format(format));
        let listings = Arc::<Listings>::default();
        let observer = Arc::<Listings>::clone(&listings);
        let mirror = Mirror::new(Arc::new(self.store.clone()));
        let (sync, status) = Publisher::new(name, mirror, sink, observer);
        let shutdown = CancellationToken::new();
        let sync = sync.reconcile_every(reconcile).limited(limits);
        let task = tokio::spawn(sync.run(shutdown.clone()));
        self.agents.push(Agent {
            shutdown,
            task,
            status,
            listings,
        });
    }

    /// A sink of the test's own.
    pub fn sink(&self) -> RedisSink {
        RedisSink::new(&self.redis.url(), PREFIX, 10_000).unwrap()
    }

    pub async fn stop_agents(&mut self) {
        for agent in self.agents.drain(..) {
            agent.shutdown.cancel();
            agent.task.await.unwrap();
        }
    }

    pub fn status(&self) -> SyncStatus {
        self.agents[0].status.borrow().clone()
    }

    /// How often each agent has listed all of etcd.
    pub fn listings(&self) -> Vec<usize> {
        let agents = self.agents.iter();
        agents
            .map(|agent| agent.listings.0.load(Ordering::Relaxed))
            .collect()
    }

    pub async fn put(&self, key: &str, value: &str) {
        self.store
            .put(key, value.as_bytes(), 0, Condition::Always)
            .await
            .unwrap();
    }

    pub async fn delete(&self, key: &str) {
        self.store.delete(key, Condition::Present).await.unwrap();
    }

    pub async fn command(&mut self, words: &[&str]) {
        let _: redis::Value = self.ask(words).await;
    }

    /// Sends a command, of words that need not be UTF-8.
    pub async fn ask<T: redis::FromRedisValue>(&mut self, words: &[impl AsRef<[u8]>]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(word.as_ref());
        }
        command.query_async(&mut self.connection).await.unwrap()
    }

    pub async fn meta(&mut self, field: &str) -> String {
        self.meta_if_there(field).await.unwrap()
    }

    pub async fn meta_if_there(&mut self, field: &str) -> Option<String> {
        let mut command = redis::cmd("HGET");
        command.arg(format!("{PREFIX}meta")).arg(field);
        command.query_async(&mut self.connection).await.unwrap()
    }

    pub async fn meta_becomes(&mut self, field: &str, value: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.meta_if_there(field).await.as_deref() != Some(value) {
            assert!(
                Instant::now() < deadline,
                "meta's {field} does not become {value}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the agent has looked so often, from now on, where Redis
    /// stands. (Nobody else asks by HMGET; scripts do, while it writes.)
    pub async fn agent_looks(&mut self, times: u64) {
        let wanted = self.looks().await + times;
        let looked = wait::until("the agent looks at redis", PATIENCE, async || {
            match self.looks().await {
                looks if looks >= wanted => Ok(()),
                looks => Err(format!("{looks} looks, not {wanted}")),
            }
        });
        looked.await.unwrap();
    }

    async fn looks(&mut self) -> u64 {
        let mut command = redis::cmd("INFO");
        command.arg("commandstats");
        let info: String = command.query_async(&mut self.connection).await.unwrap();
        let line = info
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_hmget:calls="));
        let calls = line.and_then(|line| line.split(',').next());
        calls.map_or(0, |calls| calls.parse().unwrap())
    }

    /// Sets Redis back to an older revision, in one go, as a fail-over does.
    pub async fn set_back(&mut self, rev: &str, content: &BTreeMap<Element, String>) {
        let mut pipe = redis::pipe();
        pipe.atomic();
        for element in self.content().await.keys() {
            pipe.del(format!("{PREFIX}{}", element.redis_key()));
        }
        for (element, value) in content {
            let key = format!("{PREFIX}{}", element.redis_key());
            match element.field() {
                Some(field) => pipe.hset(key, field, value),
                None => pipe.set(key, value),
            };
        }
        pipe.del(format!("{PREFIX}changes"));
        pipe.hset(format!("{PREFIX}meta"), "rev", rev);
        let _: redis::Value = pipe.query_async(&mut self.connection).await.unwrap();
    }

    pub fn pause_redis(&mut self) {
        self.redis.process().pause();
    }

    pub fn resume_redis(&mut self) {
        self.redis.process().resume();
    }

    /// Waits until an agent is in this phase.
    pub async fn phase(&mut self, phase: Phase) {
        let what = format!("the phase {phase}");
        self.says(&what, |status| status.phase == phase).await;
    }

    /// Waits until an agent says this of itself.
    pub async fn says(&mut self, what: &str, holds: impl FnMut(&SyncStatus) -> bool) {
        let mut status = self.agents[0].status.clone();
        let reached = tokio::time::timeout(PATIENCE, status.wait_for(holds)).await;
        if reached.is_err() {
            panic!("{what} is not reached: {:#?}", self.status());
        }
    }

    /// Waits until each agent has brought Redis to what etcd held.
    pub async fn all_ready(&mut self) {
        for agent in &mut self.agents {
            let ready = agent.status.wait_for(|status| status.ready);
            let ready = tokio::time::timeout(PATIENCE, ready).await;
            ready.expect("an agent does not become ready").unwrap();
        }
    }

    pub async fn settled(&mut self) {
        self.settled_after("").await;
    }

    /// Waits until Redis is ready at etcd's revision, and holds what etcd's
    /// content derives to.
    pub async fn settled_after(&mut self, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::from("nothing was looked at");
        while Instant::now() < deadline {
            match self.difference().await {
                None => return,
                Some(difference) => last = difference,
            }
            sleep(Duration::from_millis(20)).await;
        }
        let statuses: Vec<_> = self
            .agents
            .iter()
            .map(|a| a.status.borrow().clone())
            .collect();
        panic!("redis does not become what etcd derives to after {what}: {last}\n{statuses:#?}");
    }

    async fn difference(&mut self) -> Option<String> {
        let mut meta = redis::cmd("HGETALL");
        meta.arg(format!("{PREFIX}meta"));
        let meta: BTreeMap<String, String> = match meta.query_async(&mut self.connection).await {
            Ok(meta) => meta,
            Err(error) => return Some(error.to_string()),
        };
        let page = self.store.list(b"", 0, None).await.unwrap();
        let word = |field: &str| meta.get(field).map(String::as_str);
        if word("state") != Some("ready") || word("rev") != Some(&page.revision.to_string()) {
            return Some(format!("meta is {meta:?}, etcd is at {}", page.revision));
        }
        let mut table = Table::new();
        page.items.iter().for_each(|kv| table.load(kv));
        table.loaded(page.revision);
        let content = self.content().await;
        for (element, value) in &content {
            match table.held(element) {
                Held::Value(want) if *want == **value => {}
                Held::Frozen => {}
                want => return Some(format!("{element} is {value}, not {want:?}")),
            }
        }
        let missing = table.records(None, usize::MAX).into_iter();
        let mut missing = missing.filter(|change| !content.contains_key(&change.element));
        missing
            .next()
            .map(|change| format!("{} is missing", change.element))
    }

    /// All elements in Redis.
    pub async fn content(&mut self) -> BTreeMap<Element, String> {
        let mut command = redis::cmd("KEYS");
        command.arg(format!("{PREFIX}*"));
        let keys: Vec<Vec<u8>> = command.query_async(&mut self.connection).await.unwrap();
        let keys = keys
            .into_iter()
            .filter_map(|key| String::from_utf8(key).ok());
        let mut content = BTreeMap::new();
        for key in keys {
            let Some((kind, name)) = key[PREFIX.len()..].split_once(':') else {
                continue;
            };
            if kind == "inst" {
                type Fields = BTreeMap<Vec<u8>, Vec<u8>>;
                let fields: redis::RedisResult<Fields> = redis::cmd("HGETALL")
                    .arg(&key)
                    .query_async(&mut self.connection)
                    .await;
                let fields = fields.unwrap_or_default();
                content.extend(fields.into_iter().filter_map(|(id, value)| {
                    let id = String::from_utf8(id).ok()?.into();
                    let value = String::from_utf8_lossy(&value).into_owned();
                    Some((Element::Instance(name.into(), id), value))
                }));
                continue;
            }
            let value: Result<String, _> = redis::cmd("GET")
                .arg(&key)
                .query_async(&mut self.connection)
                .await;
            let value = value.unwrap_or_else(|error| error.to_string());
            let element = match kind {
                "route" => Element::Route(name.into()),
                _ => Element::App(name.into()),
            };
            content.insert(element, value);
        }
        content
    }

    /// The change stream: the fields of each entry, and its `id`.
    pub async fn stream(&mut self) -> Vec<BTreeMap<String, String>> {
        let mut command = redis::cmd("XRANGE");
        command.arg(format!("{PREFIX}changes")).arg("-").arg("+");
        let reply: redis::streams::StreamRangeReply =
            command.query_async(&mut self.connection).await.unwrap();
        reply
            .ids
            .into_iter()
            .map(|entry| {
                let text = |value: redis::Value| redis::from_redis_value(value).unwrap();
                let mut fields: BTreeMap<String, String> = entry
                    .map
                    .into_iter()
                    .map(|(name, value)| (name, text(value)))
                    .collect();
                fields.insert("id".into(), entry.id);
                fields
            })
            .collect()
    }
}
