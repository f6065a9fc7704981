//! A world in which a schedule runs.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pointsman_memory::MemoryStore;
use pointsman_mirror::{Mirror, SharedTable};
use pointsman_model::Key;
use pointsman_publish::sink::script::Protocol;
use pointsman_publish::{Phase, Publisher, QueueLimits, Size, SyncStatus};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::check::Checker;
use crate::link::{Link, LinkSide, Shared};
use crate::redis::Item;
use crate::schedule::{AGENTS, Action, KEYS, Schedule, VALUES};

const PREFIX: &str = "pointsman:";
const RECONCILE: Duration = Duration::from_secs(7);
/// How often it is looked whether a world has come to rest, and how often at the
/// most. Not in step with the agents' probes: these are messages, too.
const LOOK: Duration = Duration::from_millis(487);
const REST: u32 = 246;
/// The same while answers are late: a comparison takes a dozen of them.
const LATE_REST: u32 = 5 * REST;
/// How late an answer may be while a world comes to rest.
const STILL_LATE: Duration = Duration::from_millis(1_500);

struct Agent {
    task: JoinHandle<()>,
    status: watch::Receiver<SyncStatus>,
    table: SharedTable,
}

struct World {
    store: MemoryStore,
    sim: Shared,
    agents: [Option<Agent>; AGENTS],
    paused: [watch::Sender<bool>; AGENTS],
    seed: u64,
    started: u64,
}

/// Runs a schedule; answers what did not hold.
pub fn run(schedule: &Schedule) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let mut world = World::new(schedule.seed);
        for agent in 0..AGENTS {
            world.start(agent);
        }
        for action in &schedule.actions {
            world.act(action).await;
            let mut sim = world.sim.lock();
            let data = sim.data.clone();
            sim.snapshots.push(data);
            if let Some(violation) = &sim.checker.violation {
                return Err(violation.clone());
            }
        }
        world.heal();
        world.come_to_rest().await
    })
}

impl World {
    fn new(seed: u64) -> Self {
        let store = MemoryStore::new();
        let checker = Checker::new(store.clone(), PREFIX);
        Self {
            sim: Shared::new(seed, checker),
            store,
            agents: std::array::from_fn(|_| None),
            paused: std::array::from_fn(|_| watch::channel(false).0),
            seed,
            started: 0,
        }
    }

    fn start(&mut self, number: usize) {
        if self.agents[number].is_some() {
            return;
        }
        self.started += 1;
        let mut protocol = Protocol::new(PREFIX, 100);
        // Half of the worlds have little room.
        let limits = if self.seed.is_multiple_of(2) {
            protocol.stream_bytes = 2_000;
            narrow()
        } else {
            QueueLimits::default()
        };
        let paused = self.paused[number].subscribe();
        let link = Arc::new(Link::new(
            self.sim.clone(),
            self.store.clone(),
            protocol,
            paused,
        ));
        let watches = link.watches();
        let name = format!("agent-{number}");
        let mirror = Mirror::new(Arc::<Link>::clone(&link));
        let table = Arc::clone(mirror.table());
        let (sync, status) = Publisher::new(&name, mirror, link, Arc::new(()));
        let seed = self.seed.wrapping_add(self.started);
        let sync = sync.seeded(seed).reconcile_every(RECONCILE);
        let sync = sync.limited(limits);
        let task = tokio::spawn(sync.run(CancellationToken::new()));
        tokio::spawn(says_what_it_does(self.sim.clone(), status.clone(), watches));
        self.agents[number] = Some(Agent {
            task,
            status,
            table,
        });
    }

    async fn act(&mut self, action: &Action) {
        match action {
            Action::Wait(ms) => sleep(Duration::from_millis(*ms)).await,
            Action::Commit(writes) => self.commit(writes),
            Action::Compact => self.store.compact(self.store.revision()),
            Action::BreakWatches => self.store.break_watches(),
            Action::StoreDown(ms) => {
                self.store.set_down(true);
                let store = self.store.clone();
                later(*ms, move || store.set_down(false));
            }
            Action::SinkDown(ms) => {
                self.sim.lock().sink_down = true;
                let sim = self.sim.clone();
                later(*ms, move || sim.lock().sink_down = false);
            }
            Action::StoreLate(ms) => self.sim.set_late(LinkSide::Store, *ms),
            Action::SinkLate(ms) => self.sim.set_late(LinkSide::Sink, *ms),
            Action::Flush => self.sim.lock().data.clear(),
            Action::SetBack(by) => {
                let mut sim = self.sim.lock();
                let at = sim.snapshots.len().checked_sub(*by);
                if let Some(at) = at {
                    sim.data = sim.snapshots[at].clone();
                }
            }
            Action::Kill(number) => {
                if let Some(agent) = self.agents[*number].take() {
                    agent.task.abort();
                }
            }
            Action::Start(number) => self.start(*number),
            Action::Pause(number, ms) => {
                let paused = self.paused[*number].clone();
                paused.send_replace(true);
                later(*ms, move || {
                    paused.send_replace(false);
                });
            }
            Action::Noise(level) => self.sim.lock().noise = *level,
            Action::WrongType(key) => self.put_wrong_type(*key),
            Action::Garbage(key) => self.put_garbage(KEYS[*key]),
            Action::LoseDeletion(key) => {
                self.sim.lock().checker.strict = false;
                self.store.lose_deletion(KEYS[*key]);
            }
        }
    }

    fn commit(&self, writes: &[(usize, Option<usize>)]) {
        let writes: BTreeMap<_, _> = writes.iter().copied().collect();
        let writes: Vec<_> = writes
            .into_iter()
            .map(|(key, value)| (KEYS[key], value.map(|value| VALUES[value])))
            .collect();
        self.store.commit(&writes);
    }

    fn put_wrong_type(&self, key: usize) {
        let mut sim = self.sim.lock();
        sim.checker.strict = false;
        let (name, item) = match KEYS.get(key).and_then(|key| Key::parse(key).ok()) {
            Some(key) => match key.element() {
                Some(element) if element.field().is_some() => {
                    (element.redis_key(), Item::Text("wrong".into()))
                }
                Some(element) => (element.redis_key(), Item::Hash(BTreeMap::new())),
                None => return,
            },
            None if key == KEYS.len() => ("meta".into(), Item::Text("wrong".into())),
            None => ("changes".into(), Item::Text("wrong".into())),
        };
        sim.data.insert(format!("{PREFIX}{name}"), item);
    }

    fn put_garbage(&self, key: &str) {
        let Some(element) = Key::parse(key).ok().and_then(|key| key.element()) else {
            return;
        };
        let mut sim = self.sim.lock();
        sim.checker.strict = false;
        let name = format!("{PREFIX}{}", element.redis_key());
        let item = match element.field() {
            None => Item::Text("garbage".into()),
            Some(field) => {
                let mut hash = match sim.data.remove(&name) {
                    Some(Item::Hash(hash)) => hash,
                    _ => BTreeMap::new(),
                };
                hash.insert(field.to_owned(), "garbage".into());
                Item::Hash(hash)
            }
        };
        sim.data.insert(name, item);
    }

    /// From here on nothing fails any more; answers may still be late, but not
    /// so late that calls are given up.
    fn heal(&mut self) {
        self.store.set_down(false);
        {
            let mut sim = self.sim.lock();
            sim.noise = 0;
            sim.sink_down = false;
            sim.late = sim.late.map(|late| late.min(STILL_LATE));
        }
        for number in 0..AGENTS {
            self.paused[number].send_replace(false);
            self.start(number);
        }
    }

    /// At rest Redis equals what etcd's content derives to, and each agent's
    /// table does.
    async fn come_to_rest(&mut self) -> Result<(), String> {
        let mut last = String::new();
        let is_late = self.sim.lock().late != [Duration::ZERO; 2];
        for _ in 0..if is_late { LATE_REST } else { REST } {
            sleep(LOOK).await;
            let violation = self.sim.lock().checker.violation.clone();
            if let Some(violation) = violation {
                return Err(violation);
            }
            match self.restless() {
                None => return Ok(()),
                Some(what) => last = what,
            }
        }
        Err(format!("does not come to rest: {last}"))
    }

    fn restless(&self) -> Option<String> {
        let revision = self.store.last_event();
        let sim = self.sim.lock();
        if sim.under_way > 0 {
            return Some("messages are under way".into());
        }
        let Some(meta) = sim.checker.meta(&sim.data) else {
            return Some("redis holds no table".into());
        };
        if !meta.ready || meta.rev != revision {
            return Some(format!("redis is at {meta:?}, etcd at {revision}"));
        }
        if let Some(what) = sim.checker.differs(&sim.data, revision) {
            return Some(what);
        }
        drop(sim);
        let fresh = self.store.content_at(revision);
        let mut want = pointsman_mirror::table::Table::new();
        fresh.iter().for_each(|kv| want.load(kv));
        want.loaded(revision);
        for agent in self.agents.iter().flatten() {
            let status = agent.status.borrow().clone();
            if status.phase != Phase::Streaming || status.applied != revision {
                return Some(format!("etcd is at {revision}, an agent at {status:?}"));
            }
            let table = agent.table.read().unwrap_or_else(PoisonError::into_inner);
            if table.records(None, usize::MAX) != want.records(None, usize::MAX) {
                return Some("an agent's table differs from etcd".into());
            }
        }
        None
    }
}

/// So little at once that a few keys are too many for a batch, and a few more
/// too many to be named.
fn narrow() -> QueueLimits {
    let size = |changes| Size {
        changes,
        bytes: 1_000,
    };
    QueueLimits {
        batch: size(2),
        revision: size(2),
        piece: size(1),
        waiting: 1_500,
        names: 1_200,
    }
}

/// An agent says that it is streaming only while it has a watch open.
async fn says_what_it_does(
    sim: Shared,
    mut status: watch::Receiver<SyncStatus>,
    mut watches: watch::Receiver<usize>,
) {
    // An agent that was killed says nothing any more.
    while status.has_changed().is_ok() {
        let phase = status.borrow_and_update().phase;
        if phase == Phase::Streaming && *watches.borrow_and_update() == 0 {
            let violation = "an agent says that it is streaming, but has no watch open";
            let mut sim = sim.lock();
            sim.checker.violation.get_or_insert(violation.into());
            return;
        }
        tokio::select! {
            _ = status.changed() => {}
            _ = watches.changed() => {}
        }
    }
}

fn later(ms: u64, f: impl FnOnce() + Send + 'static) {
    tokio::spawn(async move {
        sleep(Duration::from_millis(ms)).await;
        f();
    });
}
