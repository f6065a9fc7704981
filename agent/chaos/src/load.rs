//! A constant, bounded load, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pointsman_harness::load::{Exchange, Hosts, Observer, Pace, Requests};
use pointsman_harness::upstreams::SERVED_BY;
use tokio::task::JoinHandle;

use crate::facts::{Facts, Judgement};

/// Clients, each over a kept connection.
const CLIENTS: usize = 8;
/// After each request of a client: about 300 requests a second in all.
const PAUSE: Duration = Duration::from_millis(25);

/// What came of the requests since the last look.
#[derive(Clone, Debug, Default)]
pub struct FaultTally {
    pub sent: u64,
    /// Requests that were not answered by an instance of their app.
    pub failed: u64,
    /// Exchanges on a kept connection that broke off and were repeated over a
    /// new one: what plain nginx does to a client when its worker goes.
    pub broken_off: u64,
    /// Answers of instances that should not get requests any more.
    pub stale: u64,
    /// The longest time that such an instance had been gone.
    pub stalest: Duration,
    /// The same while something that a change passes through was down.
    pub excused: u64,
    pub slowest: Duration,
    /// Each kind of failure, and how often.
    pub kinds: BTreeMap<String, u64>,
}

impl FaultTally {
    fn note(&mut self, what: String) {
        *self.kinds.entry(what).or_default() += 1;
    }
}

/// The clients. Dropped, they are gone.
pub struct FaultLoad {
    judge: Arc<Judge>,
    clients: JoinHandle<()>,
}

impl FaultLoad {
    /// Starts them; they ask for these hosts (and apps) in random order.
    pub fn start(
        edge: SocketAddr,
        hosts: &BTreeMap<String, String>,
        facts: &Arc<Facts>,
        seed: u64,
    ) -> Self {
        let judge = Arc::new(Judge {
            hosts: hosts.clone(),
            facts: Arc::clone(facts),
            tally: Mutex::default(),
        });
        let requests = Requests {
            target: edge,
            connections: CLIENTS,
            hosts: Hosts::any(hosts.keys()),
            pace: Pace::After(PAUSE),
            repeats: true,
            seed,
        };
        Self {
            clients: tokio::spawn(requests.run(Arc::clone(&judge))),
            judge,
        }
    }

    /// What came of them since the last call.
    pub fn take(&self) -> FaultTally {
        std::mem::take(&mut self.judge.tally())
    }
}

impl Drop for FaultLoad {
    fn drop(&mut self) {
        self.clients.abort();
    }
}

/// Judges each answer by what is true about the instances.
struct Judge {
    /// The app of each host.
    hosts: BTreeMap<String, String>,
    facts: Arc<Facts>,
    tally: Mutex<FaultTally>,
}

impl Judge {
    fn tally(&self) -> MutexGuard<'_, FaultTally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Judge {
    fn goes_on(&self) -> bool {
        true
    }

    fn note(&self, exchange: &Exchange<'_>) {
        let Exchange { host, begin, .. } = *exchange;
        let app = self.hosts.get(host).map_or("", String::as_str);
        let id = match &exchange.answer {
            Ok(answer) => answer.header(SERVED_BY).unwrap_or_default(),
            Err(_) => "",
        };
        let judged = self.facts.judge(id, begin);
        let mut tally = self.tally();
        tally.sent += 1;
        tally.broken_off += u64::from(exchange.broke_off);
        tally.slowest = tally.slowest.max(begin.elapsed());
        if let Some(fault) = fault_of(exchange, app, id) {
            tally.failed += 1;
            tally.note(format!("{host}: {fault}"));
        }
        match judged {
            Judgement::Right => {}
            Judgement::Excused(_) => tally.excused += 1,
            Judgement::Stale(age) => {
                tally.stale += 1;
                tally.stalest = tally.stalest.max(age);
                tally.note(format!("{host}: an instance that was deregistered"));
            }
        }
    }
}

/// Why this is not an answer of an instance of the app, if it is not.
fn fault_of(exchange: &Exchange<'_>, app: &str, id: &str) -> Option<String> {
    match &exchange.answer {
        Err(error) => Some(error.to_string()),
        Ok(answer) if answer.status != 200 => Some(answer.outcome()),
        Ok(_) if id.rsplit_once('-').map(|(of, _)| of) == Some(app) => None,
        Ok(_) => Some(format!("answered by {id:?}")),
    }
}
