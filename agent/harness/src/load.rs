//! Clients that send one request after the other over kept connections, and
//! observers that see what came of each.
//!
//! It speaks HTTP by hand: a benchmark's load must cost much less than what it
//! measures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, sleep_until};

mod kept;
#[cfg(test)]
mod tests;

use kept::Kept;

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes the next host into a string that is empty.
type NextHost = dyn Fn(&mut StdRng, &mut String) + Send + Sync;

/// Which hosts are asked for.
#[derive(Clone)]
pub struct Hosts(Arc<NextHost>);

impl Hosts {
    /// Whatever the function writes.
    pub fn of(next: impl Fn(&mut StdRng, &mut String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }

    /// Always the same one.
    pub fn one(host: &str) -> Self {
        let host = host.to_owned();
        Self::of(move |_, out| out.push_str(&host))
    }

    /// Each of the hosts 0 … `count` - 1 in its turn, then from the start.
    pub fn each(count: u64, name: impl Fn(u64, &mut String) + Send + Sync + 'static) -> Self {
        let next = AtomicU64::new(0);
        Self::of(move |_, out| name(next.fetch_add(1, Ordering::Relaxed) % count, out))
    }

    /// Any of these.
    pub fn any(hosts: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let hosts: Vec<String> = hosts.into_iter().map(Into::into).collect();
        Self::of(move |random, out| out.push_str(&hosts[random.random_range(0..hosts.len())]))
    }

    /// Writes the next one.
    pub fn next(&self, random: &mut StdRng, out: &mut String) {
        (self.0)(random, out);
    }
}

/// When a client sends its next request.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// As soon as the last one is answered.
    AtOnce,
    /// So long after that.
    After(Duration),
    /// All clients together send so many a second. A request that had to wait
    /// for an earlier one is measured from when it was due.
    Rate(f64),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No connection.
    #[error("could not connect")]
    Connect(#[source] std::io::Error),
    /// An exchange broke off.
    #[error("the exchange broke off: {0}")]
    BrokeOff(String),
    /// Nothing came in time.
    #[error("no answer")]
    Patience,
}

/// A whole answer.
#[derive(Clone, Copy, Debug)]
pub struct LoadAnswer<'a> {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: &'a [u8],
    head: &'a [u8],
}

impl<'a> LoadAnswer<'a> {
    /// A header's value, if it is there.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let head = std::str::from_utf8(self.head).ok()?;
        head.lines().find_map(|line| {
            let (named, value) = line.split_once(':')?;
            named.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The status, and Pointsman's reason if it answered itself.
    pub fn outcome(&self) -> String {
        match self.header("x-pointsman-error") {
            Some(reason) => format!("{} {reason}", self.status),
            None => self.status.to_string(),
        }
    }
}

/// A request and what came of it.
#[derive(Debug)]
pub struct Exchange<'a> {
    /// The host that was asked for.
    pub host: &'a str,
    /// When it began, or was due.
    pub begin: Instant,
    /// Whether an exchange on a kept connection broke off, and this one
    /// repeated it over a new one: what plain nginx does to a client when its
    /// worker goes.
    pub broke_off: bool,
    /// What came.
    pub answer: Result<LoadAnswer<'a>, &'a LoadError>,
}

/// Sees what a load brings, and says when it is over.
pub trait Observer: Send + Sync + 'static {
    /// Whether another request may begin.
    fn goes_on(&self) -> bool;
    /// Takes note of a request.
    fn note(&self, exchange: &Exchange<'_>);
}

/// What is sent.
#[derive(Clone)]
pub struct Requests {
    /// Who is asked.
    pub target: SocketAddr,
    /// Over so many connections.
    pub connections: usize,
    /// For what.
    pub hosts: Hosts,
    /// How fast.
    pub pace: Pace,
    /// Whether an exchange that broke off is repeated.
    pub repeats: bool,
    /// Of the random numbers.
    pub seed: u64,
}

impl Requests {
    /// Sends them until the observer ends it.
    pub async fn run(self, observer: Arc<impl Observer>) {
        let target = self.target;
        let fresh = (0..self.connections).map(|_| Kept::to(target)).collect();
        self.run_over(fresh, observer).await;
    }

    /// The same over connections that there are, one client each.
    async fn run_over(self, connections: Vec<Kept>, observer: Arc<impl Observer>) {
        let mut clients = JoinSet::new();
        let (begin, count) = (Instant::now(), connections.len());
        for (number, kept) in connections.into_iter().enumerate() {
            let (mut late, mut pause) = (Duration::ZERO, None);
            if let Pace::Rate(rate) = self.pace {
                let between = Duration::from_secs_f64(count as f64 / rate);
                late = between.mul_f64(number as f64 / count as f64);
                pause = Some(between);
            }
            let client = Client {
                requests: self.clone(),
                between: pause,
                due: begin + late,
                random: StdRng::seed_from_u64(self.seed.wrapping_add(number as u64)),
                host: String::new(),
                kept,
            };
            clients.spawn(client.run(Arc::clone(&observer)));
        }
        clients.join_all().await;
    }
}

/// One connection's client.
struct Client {
    requests: Requests,
    /// Between two requests, at a rate.
    between: Option<Duration>,
    due: Instant,
    random: StdRng,
    host: String,
    kept: Kept,
}

impl Client {
    async fn run(mut self, observer: Arc<impl Observer>) {
        // Who keeps its connections has them before it begins. If this fails,
        // the first request tells.
        let _not_yet = self.kept.connect().await;
        while observer.goes_on() {
            let begin = self.turn().await;
            self.host.clear();
            self.requests.hosts.next(&mut self.random, &mut self.host);
            let mut answer = self.kept.get(&self.host, "/").await;
            let broke_off = self.requests.repeats && matches!(answer, Err(LoadError::BrokeOff(_)));
            if broke_off {
                answer = self.kept.get(&self.host, "/").await;
            }
            observer.note(&Exchange {
                host: &self.host,
                begin,
                broke_off,
                answer: match &answer {
                    Ok(parsed) => Ok(self.kept.answer(parsed)),
                    Err(error) => Err(error),
                },
            });
            if let Pace::After(pause) = self.requests.pace {
                sleep(pause).await;
            }
        }
    }

    /// Waits until the next request is due; answers when it began.
    async fn turn(&mut self) -> Instant {
        let Some(between) = self.between else {
            return Instant::now();
        };
        let due = self.due;
        self.due += between;
        if due < Instant::now() {
            return due;
        }
        sleep_until(due.into()).await;
        Instant::now()
    }
}

/// What was answered, and how often.
pub type Tally = BTreeMap<String, u64>;

/// A load in the background that counts what is answered.
pub struct Load {
    counter: Arc<Counter>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counter {
    is_over: AtomicBool,
    tally: Mutex<Tally>,
}

impl Observer for Counter {
    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    fn note(&self, exchange: &Exchange<'_>) {
        let what = match &exchange.answer {
            Ok(answer) => answer.outcome(),
            Err(error) => error.to_string(),
        };
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        *tally.entry(what).or_default() += 1;
    }
}

impl Load {
    /// So many clients, with a short pause after each request.
    pub fn start(edge: SocketAddr, clients: usize, hosts: Hosts, pause: Duration) -> Self {
        let connections = (0..clients).map(|_| Kept::to(edge)).collect();
        Self::over(connections, edge, hosts, pause)
    }

    /// One client for each worker of nginx.
    pub async fn on_each_worker(
        edge: SocketAddr,
        workers: usize,
        hosts: Hosts,
        pause: Duration,
    ) -> Self {
        let connections = Kept::to_each_worker(edge, workers).await;
        Self::over(connections, edge, hosts, pause)
    }

    fn over(connections: Vec<Kept>, target: SocketAddr, hosts: Hosts, pause: Duration) -> Self {
        let counter = Arc::<Counter>::default();
        let requests = Requests {
            target,
            connections: connections.len(),
            hosts,
            pace: Pace::After(pause),
            repeats: false,
            seed: 1,
        };
        let task = requests.run_over(connections, Arc::clone(&counter));
        Self {
            task: tokio::spawn(task),
            counter,
        }
    }

    /// Ends it; answers the tally of all clients.
    pub async fn stop(self) -> Tally {
        self.counter.is_over.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        let mut tally = self
            .counter
            .tally
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut tally)
    }
}
