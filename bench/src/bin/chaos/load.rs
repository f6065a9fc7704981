//! A constant, bounded load, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pointsman_dev::http::{Answer, Connection, HttpError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use crate::facts::{Facts, Judgement};
use crate::instances::SERVED_BY;

/// Clients, each over a kept connection.
const CLIENTS: usize = 8;
/// Between two requests of one client: 320 requests a second in all.
const PACE: Duration = Duration::from_millis(25);

/// What came of the requests since the last look.
#[derive(Clone, Debug, Default)]
pub struct Tally {
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

impl Tally {
    fn note(&mut self, what: String) {
        *self.kinds.entry(what).or_default() += 1;
    }
}

/// The clients. Dropped, they are gone.
pub struct Load {
    tally: Arc<Mutex<Tally>>,
    _clients: JoinSet<()>,
}

impl Load {
    /// Starts them; they ask for these hosts (and apps) in random order.
    pub fn start(
        edge: SocketAddr,
        hosts: &BTreeMap<String, String>,
        facts: &Arc<Facts>,
        seed: u64,
    ) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                edge,
                hosts: hosts.clone().into_iter().collect(),
                random: StdRng::seed_from_u64(seed.wrapping_add(number as u64)),
                facts: Arc::clone(facts),
                tally: Arc::clone(&tally),
                kept: None,
            };
            clients.spawn(client.run());
        }
        Self {
            tally,
            _clients: clients,
        }
    }

    /// What came of them since the last call.
    pub fn take(&self) -> Tally {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut tally)
    }
}

struct Client {
    edge: SocketAddr,
    hosts: Vec<(String, String)>,
    random: StdRng,
    facts: Arc<Facts>,
    tally: Arc<Mutex<Tally>>,
    kept: Option<Connection>,
}

impl Client {
    async fn run(mut self) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let at = self.random.random_range(0..self.hosts.len());
            let (host, app) = self.hosts[at].clone();
            let begin = Instant::now();
            let mut answer = self.ask(&host).await;
            let mut broken_off = 0;
            if matches!(answer, Err(HttpError::Exchange(_))) {
                broken_off = 1;
                self.kept = None;
                answer = self.ask(&host).await;
            }
            if answer.is_err() {
                self.kept = None;
            }
            let fault = fault_of(&answer, &app);
            let judged = match &answer {
                Ok(answer) => {
                    let id = answer.header(SERVED_BY).unwrap_or_default();
                    self.facts.judge(id, begin)
                }
                Err(_) => Judgement::Right,
            };
            let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
            tally.sent += 1;
            tally.broken_off += broken_off;
            tally.slowest = tally.slowest.max(begin.elapsed());
            if let Some(fault) = fault {
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

    async fn ask(&mut self, host: &str) -> Result<Answer, HttpError> {
        // nginx closes idle connections when it reloads; a client sees that
        // and takes a new one.
        if self.kept.as_ref().is_some_and(Connection::is_closed) {
            self.kept = None;
        }
        let connection = match &mut self.kept {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.edge).await?),
        };
        connection.get(host, "/").await
    }
}

/// Why this is not an answer of an instance of the app, if it is not.
fn fault_of(answer: &Result<Answer, HttpError>, app: &str) -> Option<String> {
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return Some(error.to_string()),
    };
    if answer.status.as_u16() != 200 {
        let reason = answer.header("x-pointsman-error").unwrap_or_default();
        return Some(format!("{} {reason}", answer.status.as_u16()));
    }
    let id = answer.header(SERVED_BY).unwrap_or_default();
    if id.rsplit_once('-').map(|(of, _)| of) == Some(app) {
        None
    } else {
        Some(format!("answered by {id:?}"))
    }
}
