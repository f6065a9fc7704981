//! The prober: it probes the instances of apps that have a health check, and
//! writes to etcd which of them are unhealthy.
//!
//! Each instance is probed by one agent ([`assign`](pointsman_coordinate::assign)), at a phase of its own
//! (`schedule`). Whether it is healthy is what etcd says; probes say when
//! that is to be changed (`verdict`), and nothing is written while nothing
//! changes (`mark`). From etcd a change reaches each edge like any other.
//!
//! What is probed follows the table (`follow`): a probe begins only if the
//! table, at that moment, has the instance as it was scheduled.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::Duration;

use pointsman_mirror::table::{Probed, Standing, Table};
use pointsman_mirror::{SharedTable, Subscription};
use pointsman_model::Chain;
use pointsman_model::{Address, Health, HealthCheck, InitialState};
use pointsman_store::{Revision, Store, StoreError};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

mod attempt;
mod follow;
mod limit;
mod mark;
mod metrics;
mod schedule;
#[cfg(test)]
mod tests;
mod verdict;

use attempt::{Ask, Network, Outcome};
use mark::{Mark, Marked};
pub use metrics::ProbeMetrics;
use schedule::{ProbeSchedule, missed};
use verdict::{Counted, Doubt, Streak};

/// How many results are written to etcd at the same time.
const WRITES: usize = 16;
/// How often an instance is probed until its first good probe.
const PENDING_INTERVAL: Duration = Duration::from_secs(1);
/// What goes on for long is not logged more often than this.
const LOG_AGAIN: Duration = Duration::from_secs(60);

/// The prober of one agent.
#[derive(Debug)]
pub struct Prober {
    agent: Box<str>,
    store: Arc<dyn Store>,
    mirror: Subscription,
    metrics: ProbeMetrics,
    ask: Arc<dyn Ask>,
    /// How many probes are under way at the same time, at the most.
    limit: usize,
    /// What this agent probes, by `<app>/<id>`.
    targets: HashMap<Arc<str>, Target>,
    /// How many of them are pending, and how many unhealthy.
    standings: Standings,
    schedule: ProbeSchedule,
    doubt: Doubt,
    probes: JoinSet<ProbeAnswer>,
    writes: JoinSet<Answered>,
    permits: Arc<Semaphore>,
    followed: follow::Followed,
    tokens: u64,
    /// Since when etcd has not taken a result.
    refused: bool,
    /// When it was last logged that the agent doubts itself, or cannot probe.
    doubted: Option<Instant>,
    hindered: Option<Instant>,
}

/// An instance that is probed, as the table had it.
#[derive(Debug)]
struct Target {
    /// Tells it from what had its name before.
    token: u64,
    created: Revision,
    addr: Address,
    check: Arc<HealthCheck>,
    /// What it is by what etcd has.
    standing: Standing,
    due: Instant,
    /// Whether `due` is no turn of its own, but the moment it appeared.
    at_once: bool,
    /// The last listing of the table that had it.
    listing: u64,
    streak: Streak,
    counted: Counted,
    probe: Option<AbortHandle>,
    write: Option<AbortHandle>,
    /// The revision of this agent's last mark; before the table has it, the
    /// table does not tell whether another is needed.
    marked: Revision,
}

/// How many targets are of a standing that is not the usual one.
#[derive(Clone, Copy, Debug, Default)]
struct Standings {
    pending: usize,
    unhealthy: usize,
}

impl Standings {
    /// The count of those of `standing`.
    fn of(&mut self, standing: Standing) -> Option<&mut usize> {
        match standing {
            Standing::Pending => Some(&mut self.pending),
            Standing::Unhealthy => Some(&mut self.unhealthy),
            Standing::Healthy => None,
        }
    }
}

impl Target {
    fn is_pending(&self) -> bool {
        self.standing == Standing::Pending
    }

    /// How often it is probed: the sooner a pending one is found good, the
    /// sooner it gets requests.
    fn interval(&self) -> Duration {
        let interval = self.check.interval();
        if self.is_pending() {
            interval.min(PENDING_INTERVAL)
        } else {
            interval
        }
    }

    /// Whether this is what the table has.
    fn is(&self, probed: &Probed<'_>) -> bool {
        is_same(self.created, self.addr, &self.check, probed)
    }
}

fn is_same(created: Revision, addr: Address, check: &HealthCheck, probed: &Probed<'_>) -> bool {
    probed.created == created && probed.addr == addr && *probed.check == *check
}

fn under_way(task: Option<&AbortHandle>) -> bool {
    task.is_some_and(|task| !task.is_finished())
}

/// The two halves of `<app>/<id>`; neither has a slash of its own.
fn halves(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

/// A probe that ended.
struct ProbeAnswer {
    name: Arc<str>,
    token: u64,
    /// Nothing if the instance was gone before the probe began.
    found: Option<(Outcome, Duration)>,
}

/// A write that ended.
struct Answered {
    name: Arc<str>,
    token: u64,
    mark: Mark,
    outcome: Result<Marked, StoreError>,
}

impl Prober {
    /// A prober for the agent named `agent`; nothing happens before
    /// [`Prober::run`].
    pub fn new(
        agent: &str,
        store: Arc<dyn Store>,
        mirror: Subscription,
        metrics: ProbeMetrics,
    ) -> Self {
        Self {
            agent: agent.into(),
            store,
            mirror,
            metrics,
            ask: Arc::new(Network),
            limit: limit::probes(),
            targets: HashMap::new(),
            standings: Standings::default(),
            schedule: ProbeSchedule::new(),
            doubt: Doubt::new(),
            probes: JoinSet::new(),
            writes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(WRITES)),
            followed: follow::Followed::default(),
            tokens: 0,
            refused: false,
            doubted: None,
            hindered: None,
        }
    }

    /// Probes until `stop`. Probes and writes that are under way are broken
    /// off: what they would have found, the next prober finds.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep_going() => {}
        }
        // The sync has ended: there is nothing to follow, but who ends before
        // its time takes the process down.
        stop.cancelled().await;
    }

    async fn keep_going(&mut self) {
        loop {
            self.follow().await;
            self.begin_due();
            let wake = self.wake();
            tokio::select! {
                biased;
                moved = self.mirror.moved() => if !moved {
                    return;
                },
                Some(ended) = self.writes.join_next() => self.take_answered(ended),
                Some(ended) = self.probes.join_next() => self.take_answer(ended),
                () = sleep_until(wake) => {}
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.mirror.read()
    }

    /// When something is to be done, if nothing happens before.
    fn wake(&self) -> Instant {
        let relist = self.followed.relist_at();
        match self.schedule.first() {
            Some(due) if self.probes.len() < self.limit => due.min(relist),
            _ => relist,
        }
    }

    /// Begins the probes that are due, the longest due first, as long as there
    /// is room. Turns that have passed are left out, not made up for.
    fn begin_due(&mut self) {
        while self.probes.len() < self.limit {
            let now = Instant::now();
            let Some((name, due)) = self.schedule.pop(now) else {
                return;
            };
            let Some(target) = self.targets.get_mut(&name) else {
                continue;
            };
            let interval = target.interval();
            // An instance that has just been probed has half an interval.
            let rest = if target.at_once && !target.is_pending() {
                interval / 2
            } else {
                Duration::ZERO
            };
            target.at_once = false;
            target.due = self.schedule.turn(&name, interval, now + rest);
            self.schedule.add(&name, target.due);
            let mut left_out = missed(due, now, interval);
            if under_way(target.probe.as_ref()) {
                // An instance that is booting may well be slow.
                left_out += u64::from(!target.is_pending());
            } else {
                let probe = probe(
                    Arc::clone(&name),
                    target,
                    due,
                    Arc::clone(self.mirror.table()),
                    Arc::clone(&self.ask),
                    self.metrics.clone(),
                );
                target.probe = Some(self.probes.spawn(probe));
            }
            self.metrics.late(left_out);
        }
    }

    fn take_answer(&mut self, ended: Result<ProbeAnswer, JoinError>) {
        let Some(ProbeAnswer { name, token, found }) = joined(ended) else {
            return;
        };
        let Some((outcome, took)) = found else {
            return;
        };
        self.metrics.ended(outcome.label(), took);
        let Some(target) = self.targets.get_mut(&name) else {
            return;
        };
        if target.token != token {
            return;
        }
        let good = match &outcome {
            Outcome::Good => true,
            Outcome::Bad(..) => false,
            Outcome::Own(why) => {
                if often_enough(&mut self.hindered) {
                    warn!(instance = %name, %why, "probes fail for reasons of the agent's own");
                }
                return;
            }
        };
        target.streak.push(good);
        // That an instance is booting says nothing about the agent.
        if good || !target.is_pending() {
            self.doubt.note(good, &mut target.counted);
        }
        self.judge(&name, outcome);
    }

    /// Marks the instance in etcd, if its probes say that it has turned.
    fn judge(&mut self, name: &Arc<str>, outcome: Outcome) {
        let Some(target) = self.targets.get_mut(name) else {
            return;
        };
        let (app, id) = halves(name);
        let (standing, found_at) = {
            let table = self.mirror.read();
            match table.probed(app, id) {
                Some(probed) if target.is(&probed) && table.revision() >= target.marked => {
                    (probed.standing, probed.found_at)
                }
                _ => return,
            }
        };
        let found = |pending, fault: Option<(_, &String)>| {
            let fault = fault.map(|(class, text)| (class, text.as_str()));
            Mark::found(target.created, target.addr, pending, fault)
        };
        let is_up = standing != Standing::Unhealthy;
        let turns = target.streak.turns(is_up, &target.check).is_some();
        let mark = match (standing, &outcome, found_at) {
            (Standing::Pending, Outcome::Good, _) => found(false, None),
            (Standing::Pending, Outcome::Bad(fault, reason), None) => {
                found(true, Some((fault.class(), reason)))
            }
            (Standing::Healthy, Outcome::Bad(fault, reason), _) if turns => {
                if self.doubt.doubts(&target.streak) {
                    self.metrics.held_back();
                    if often_enough(&mut self.doubted) {
                        warn!("no instance answers: the agent doubts itself, and marks none");
                    }
                    return;
                }
                found(false, Some((fault.class(), reason)))
            }
            (Standing::Unhealthy, Outcome::Good, Some(revision)) if turns => {
                match target.check.initial {
                    // Without a mark it would be pending again.
                    InitialState::Pending => found(false, None),
                    InitialState::Healthy => Mark::Healthy { revision },
                }
            }
            _ => return,
        };
        if under_way(target.write.as_ref()) {
            return;
        }
        let token = target.token;
        let write = self.write(Arc::clone(name), token, mark);
        if let Some(target) = self.targets.get_mut(name) {
            target.write = Some(write);
        }
    }

    fn write(&mut self, name: Arc<str>, token: u64, mark: Mark) -> AbortHandle {
        let (store, permits) = (Arc::clone(&self.store), Arc::clone(&self.permits));
        self.writes.spawn(async move {
            // The semaphore is never closed.
            let _permit = permits.acquire().await;
            let outcome = mark.write(&*store, &name).await;
            Answered {
                name,
                token,
                mark,
                outcome,
            }
        })
    }

    fn take_answered(&mut self, ended: Result<Answered, JoinError>) {
        let Some(Answered {
            name,
            token,
            mark,
            outcome,
        }) = joined(ended)
        else {
            return;
        };
        match outcome {
            Ok(marked) => {
                self.refused = false;
                let Marked::At(revision) = marked else {
                    debug!(instance = %name, "it has changed meanwhile, and was not marked");
                    return;
                };
                match &mark {
                    Mark::Found { health, .. } => note(&name, health),
                    Mark::Healthy { .. } => info!(instance = %name, "healthy"),
                    Mark::Orphan { .. } => debug!(instance = %name, "its mark is removed"),
                }
                if let Some(target) = self.targets.get_mut(&name)
                    && target.token == token
                {
                    target.marked = revision;
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.refused, true) {
                    warn!(error = %Chain(&error), "etcd does not take the results of probes");
                }
            }
        }
    }
}

/// The probe of a target: at once, if the table has it as it was scheduled.
fn probe(
    name: Arc<str>,
    target: &Target,
    due: Instant,
    table: SharedTable,
    ask: Arc<dyn Ask>,
    metrics: ProbeMetrics,
) -> impl Future<Output = ProbeAnswer> + Send + use<> {
    let (token, created, addr) = (target.token, target.created, target.addr);
    let check = Arc::clone(&target.check);
    async move {
        let current = {
            let (app, id) = halves(&name);
            let table = table.read().unwrap_or_else(PoisonError::into_inner);
            let probed = table.probed(app, id);
            probed.is_some_and(|probed| is_same(created, addr, &check, &probed))
        };
        let found = if current {
            let begun = Instant::now();
            metrics.began(begun.saturating_duration_since(due));
            let outcome = ask.ask(&check, addr.socket()).await;
            Some((outcome, begun.elapsed()))
        } else {
            None
        };
        ProbeAnswer { name, token, found }
    }
}

/// Logs what was found about an instance.
fn note(instance: &str, found: &Health) {
    let reason = found.reason.as_deref().unwrap_or_default();
    match found {
        Health { up: true, .. } => info!(instance, "healthy"),
        Health { pending: true, .. } => info!(instance, reason, "pending: not ready yet"),
        Health { .. } => info!(instance, reason, "unhealthy"),
    }
}

/// What a task ended with; nothing if it was broken off.
fn joined<T>(ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(answer) => Some(answer),
        Err(broken) => {
            if broken.is_panic() {
                error!("a probe panicked");
            }
            None
        }
    }
}

/// Whether something that goes on is to be logged (again).
fn often_enough(last: &mut Option<Instant>) -> bool {
    let due = last.is_none_or(|last| last.elapsed() >= LOG_AGAIN);
    if due {
        *last = Some(Instant::now());
    }
    due
}
