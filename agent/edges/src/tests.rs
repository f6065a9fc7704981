//! The follower over a Redis and an etcd in memory, with a clock that stands
//! still.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pointsman_memory::MemoryStore;
use pointsman_mirror::SharedTable;
use pointsman_mirror::table::Table;
use pointsman_store::{Condition, Store};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::source::{Announcement, Announcements, Hashes, ReportSource, SourceError};
use super::*;

type Fields = Vec<(String, String)>;

/// Redis, as far as edges use it.
#[derive(Clone, Debug, Default)]
struct FakeRedis(Arc<Mutex<FakeState>>);

#[derive(Debug, Default)]
struct FakeState {
    hashes: BTreeMap<String, Fields>,
    channel: Option<mpsc::UnboundedSender<Announcement>>,
    is_down: bool,
    seq: u64,
    reads: usize,
}

impl FakeRedis {
    fn lock(&self) -> std::sync::MutexGuard<'_, FakeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An edge reports.
    fn report(&self, edge: &str, epoch: &str, applied: i64, draining: &str) {
        let mut state = self.lock();
        state.seq += 1;
        let fields = [
            ("epoch", epoch.to_owned()),
            ("applied", applied.to_string()),
            ("version", "0.1.0".to_owned()),
            ("started", "1700000000".to_owned()),
            ("workers", "2".to_owned()),
            ("draining", draining.to_owned()),
            ("seq", state.seq.to_string()),
        ];
        let fields = fields.map(|(field, value)| (field.to_owned(), value));
        state.hashes.insert(edge.to_owned(), fields.to_vec());
        state.announce(Announcement::Report(edge.to_owned()));
    }

    fn goodbye(&self, edge: &str) {
        let mut state = self.lock();
        state.hashes.remove(edge);
        state.announce(Announcement::Goodbye(edge.to_owned()));
    }

    /// The report has expired.
    fn expire(&self, edge: &str) {
        self.lock().hashes.remove(edge);
    }

    fn fail(&self) {
        let mut state = self.lock();
        state.is_down = true;
        state.channel = None;
    }
}

impl FakeState {
    fn announce(&self, announcement: Announcement) {
        if let Some(channel) = &self.channel {
            channel.send(announcement).ok();
        }
    }
}

struct FakeChannel(mpsc::UnboundedReceiver<Announcement>);

#[async_trait]
impl Announcements for FakeChannel {
    async fn next(&mut self) -> Vec<Announcement> {
        let mut news = Vec::from_iter(self.0.recv().await);
        news.extend(std::iter::from_fn(|| self.0.try_recv().ok()));
        news
    }
}

#[async_trait]
impl ReportSource for FakeRedis {
    async fn read(&self, names: &[String]) -> Result<Hashes, SourceError> {
        let mut state = self.lock();
        if state.is_down {
            return Err(SourceError("down".into()));
        }
        state.reads += 1;
        let found = names.iter().map(|name| state.hashes.get(name).cloned());
        Ok(found.collect())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, SourceError> {
        let mut state = self.lock();
        if state.is_down {
            return Err(SourceError("down".into()));
        }
        let (sender, receiver) = mpsc::unbounded_channel();
        state.channel = Some(sender);
        Ok(Box::new(FakeChannel(receiver)))
    }
}

struct World {
    store: MemoryStore,
    redis: FakeRedis,
    table: SharedTable,
    edges: Edges,
    stop: CancellationToken,
}

impl World {
    async fn start() -> Self {
        let (store, redis) = (MemoryStore::new(), FakeRedis::default());
        store
            .put("epoch", b"e", 0, Condition::Always)
            .await
            .unwrap();
        let table = SharedTable::default();
        let mut world = Self::beside(store, redis, table);
        world.sync().await;
        world.shows(&[]).await;
        world
    }

    /// Another agent at the same Redis and etcd.
    fn beside(store: MemoryStore, redis: FakeRedis, table: SharedTable) -> Self {
        let stop = CancellationToken::new();
        let (follower, edges) = EdgeFollower::new(
            Arc::new(store.clone()),
            Arc::new(redis.clone()),
            Arc::clone(&table),
        );
        tokio::spawn(follower.run(stop.clone()));
        Self {
            store,
            redis,
            table,
            edges,
            stop,
        }
    }

    /// Brings the table to what etcd holds; answers its revision.
    async fn sync(&self) -> i64 {
        let page = self.store.list(b"", 0, None).await.unwrap();
        let mut table = Table::new();
        page.items.iter().for_each(|kv| table.load(kv));
        table.loaded(page.revision);
        *self.table.write().unwrap() = table;
        page.revision
    }

    /// Waits until the list is this: names with states.
    async fn shows(&mut self, wanted: &[(&str, &str)]) {
        let shown = |edges: &Edges| {
            let list = edges.list()?.into_iter().map(|edge| {
                let state = match edge.state {
                    EdgeState::Live => "live",
                    EdgeState::Behind(_) => "behind",
                    EdgeState::Missing(_) => "missing",
                };
                (edge.name, state.to_owned())
            });
            Some(list.collect::<Vec<_>>())
        };
        let wanted = wanted.iter();
        let wanted = wanted.map(|(name, state)| ((*name).to_owned(), (*state).to_owned()));
        let wanted = Some(wanted.collect::<Vec<_>>());
        for _ in 0..100 {
            if shown(&self.edges) == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            self.sync().await;
        }
        assert_eq!(shown(&self.edges), wanted);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_reports_is_listed_and_noted_in_etcd() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 100, "{}");
    world.shows(&[("a", "live")]).await;
    assert!(world.store.get("edges/a").await.unwrap().0.is_some());
}

#[tokio::test(start_paused = true)]
async fn reports_of_many_edges_are_read_together() {
    let mut world = World::start().await;
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        world.redis.report(name, "e", 100, "{}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.shows(&names.map(|name| (name, "live"))).await;
    // The first one at once, then the others.
    assert_eq!(world.redis.lock().reads, 2);
}

#[tokio::test(start_paused = true)]
async fn who_waits_learns_of_a_report_at_once() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 100, "{}");
    world.shows(&[("a", "live")]).await;
    for applied in 101..110 {
        let begin = tokio::time::Instant::now();
        world.redis.report("a", "e", applied, "{}");
        while !world.edges.lacking(applied).unwrap().is_empty() {
            world.edges.moved().await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_names_each_edge_that_lacks_the_revision() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 5, "{}");
    world.redis.report("b", "e", 7, "{}");
    world.redis.report("c", "other", 9, "{}");
    world
        .shows(&[("a", "live"), ("b", "live"), ("c", "behind")])
        .await;
    let lacking = world.edges.lacking(7).unwrap();
    let lacking: Vec<_> = lacking.iter().map(|l| (&*l.edge, l.why)).collect();
    assert_eq!(
        lacking,
        [("a", Holdup::Applied(5)), ("c", Holdup::OtherEpoch)]
    );
    world.redis.report("a", "e", 7, "{}");
    world.redis.report("c", "e", 8, "{}");
    world
        .shows(&[("a", "live"), ("b", "live"), ("c", "live")])
        .await;
    assert_eq!(world.edges.lacking(7), Some(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_falls_silent_is_missing_until_it_is_back() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 100, "{}");
    world.shows(&[("a", "live")]).await;
    world.redis.expire("a");
    world.shows(&[("a", "missing")]).await;
    let lacking = world.edges.lacking(1).unwrap();
    assert!(matches!(lacking[0].why, Holdup::Missing(_)), "{lacking:?}");
    // An agent that starts now has never heard it, and knows of it.
    let mut other = World::beside(
        world.store.clone(),
        world.redis.clone(),
        SharedTable::default(),
    );
    other.shows(&[("a", "missing")]).await;
    world.redis.report("a", "e", 101, "{}");
    world.shows(&[("a", "live")]).await;
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_quits_is_forgotten_unless_it_is_back_already() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 100, "{}");
    world.redis.report("b", "e", 100, "{}");
    world.shows(&[("a", "live"), ("b", "live")]).await;
    world.redis.goodbye("a");
    // Restarted at once: the report is there before the goodbye is read.
    world.redis.goodbye("b");
    world.redis.report("b", "e", 100, "{}");
    world.shows(&[("b", "live")]).await;
    assert!(world.store.get("edges/a").await.unwrap().0.is_none());
    assert!(world.store.get("edges/b").await.unwrap().0.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_operator_forgets_a_missing_edge_in_etcd() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 100, "{}");
    world.shows(&[("a", "live")]).await;
    world.redis.expire("a");
    world.shows(&[("a", "missing")]).await;
    world
        .store
        .delete("edges/a", Condition::Present)
        .await
        .unwrap();
    world.shows(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_over_when_each_edge_has_it_and_nothing_is_in_flight() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 9, r#"{"shop/1":2}"#);
    world
        .redis
        .report("b", "e", 10, r#"{"shop/1":1,"shop/2":5}"#);
    world.redis.report("c", "e", 10, "{}");
    world
        .shows(&[("a", "live"), ("b", "live"), ("c", "live")])
        .await;
    let left = world.edges.undrained(10, "shop", "1").unwrap();
    let left: Vec<_> = left.iter().map(|l| (&*l.edge, l.why)).collect();
    assert_eq!(
        left,
        [("a", Holdup::Applied(9)), ("b", Holdup::InFlight(1))]
    );
    for edge in ["a", "b", "c"] {
        world
            .redis
            .report(edge, "e", 11, r#"{"shop/1":0,"shop/2":5}"#);
    }
    let moved = async {
        while world.edges.undrained(10, "shop", "1") != Some(Vec::new()) {
            world.edges.moved().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), moved)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_answered_while_reports_cannot_be_read() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 100, "{}");
    world.shows(&[("a", "live")]).await;
    world.redis.fail();
    let silent = async {
        while world.edges.list().is_some() {
            world.edges.moved().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), silent)
        .await
        .unwrap();
    assert_eq!(world.edges.lacking(1), None);
    world.redis.lock().is_down = false;
    world.shows(&[("a", "live")]).await;
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_stays_behind_for_a_second_is_shown_so_and_since_when() {
    let mut world = World::start().await;
    world.redis.report("a", "e", 1, "{}");
    for n in 0..10 {
        let key = format!("routes/h{n}.test");
        world
            .store
            .put(&key, br#"{"app":"shop"}"#, 0, Condition::Always)
            .await
            .unwrap();
    }
    world.sync().await;
    world.shows(&[("a", "behind")]).await;
    let list = world.edges.list().unwrap();
    assert!(list[0].behind.is_some_and(|by| by >= 10), "{list:?}");
    world.redis.report("a", "e", 1000, "{}");
    world.shows(&[("a", "live")]).await;
}
