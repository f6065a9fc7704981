//! Load over kept connections, from a thread of its own.
//!
//! Closed: each connection asks again as soon as it is answered. Open: so many
//! requests a second, and a request that had to wait for an earlier one is
//! measured from when it was due.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::{sleep_until, timeout};

use crate::{cpu, stats};

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest latency that is told from longer ones.
const LONGEST: u64 = 60_000_000_000;
const HEADERS: usize = 32;

/// Writes the next host into a string that is empty.
pub type NextHost = dyn Fn(&mut StdRng, &mut String) + Send + Sync;

/// Which hosts are asked for.
#[derive(Clone)]
pub struct Hosts(Arc<NextHost>);

impl Hosts {
    /// Always the same one.
    pub fn one(host: &str) -> Self {
        let host = host.to_owned();
        Self::of(move |_, out| out.push_str(&host))
    }

    /// The hosts 0 … `count` - 1, the first ones more often than the later ones,
    /// by Zipf's law. `name` writes the host of a number.
    pub fn zipf(
        count: u64,
        exponent: f64,
        name: impl Fn(u64, &mut String) + Send + Sync + 'static,
    ) -> Result<Self> {
        let zipf = Zipf::new(count as f64, exponent).map_err(|error| anyhow!("{error}"))?;
        Ok(Self::of(move |random, out| {
            name(random.sample(zipf) as u64 - 1, out);
        }))
    }

    /// Each of the hosts 0 … `count` - 1 in its turn, then from the start.
    pub fn each(count: u64, name: impl Fn(u64, &mut String) + Send + Sync + 'static) -> Self {
        let next = AtomicU64::new(0);
        Self::of(move |_, out| name(next.fetch_add(1, Ordering::Relaxed) % count, out))
    }

    /// Whatever the function writes.
    pub fn of(next: impl Fn(&mut StdRng, &mut String) + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }
}

/// When a load is over.
#[derive(Clone, Debug)]
pub enum Until {
    /// After this time.
    Time(Duration),
    /// After so many requests.
    Requests(u64),
    /// Once somebody sets it.
    Flag(Arc<AtomicBool>),
}

/// A load.
#[derive(Clone)]
pub struct Load {
    /// Who is asked.
    pub target: SocketAddr,
    /// Over so many connections.
    pub connections: usize,
    /// For what.
    pub hosts: Hosts,
    /// How long.
    pub until: Until,
    /// Requests a second; `None`: as fast as they are answered.
    pub rate: Option<f64>,
    /// The cores of the thread that does it.
    pub cores: Vec<usize>,
    /// Whether it runs as soon as it has something to do, whoever has the core.
    /// It must leave most of that to others, so it has a rate.
    pub first: bool,
    /// Of the random numbers.
    pub seed: u64,
}

/// What came of it. Latencies in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Answers with 200.
    pub good: u64,
    /// All others, and requests without an answer.
    pub failed: u64,
    /// Each kind of failure, and how often.
    pub failures: BTreeMap<String, u64>,
    /// How long it took.
    pub seconds: f64,
    /// Half of the answers came within this time.
    pub p50: f64,
    /// 90 % of them.
    pub p90: f64,
    /// 99 % of them.
    pub p99: f64,
    /// 99.9 % of them.
    pub p999: f64,
    /// The slowest one.
    pub max: f64,
    /// How long the load itself waited for a core, on average each time that it
    /// had something to do. It is part of the latencies.
    #[serde(default)]
    pub own_wait: f64,
}

impl Outcome {
    /// Good answers a second.
    pub fn throughput(&self) -> f64 {
        self.good as f64 / self.seconds
    }

    /// Several loads of the same kind as one: their sums, the middle ones of the
    /// latencies that they had, and the worst one.
    pub fn of_all(all: &[Self]) -> Self {
        let mut failures = BTreeMap::new();
        for (what, times) in all.iter().flat_map(|one| &one.failures) {
            *failures.entry(what.clone()).or_default() += times;
        }
        let middle = |of: fn(&Self) -> f64| stats::median(&all.iter().map(of).collect::<Vec<_>>());
        Self {
            good: all.iter().map(|one| one.good).sum(),
            failed: all.iter().map(|one| one.failed).sum(),
            failures,
            seconds: all.iter().map(|one| one.seconds).sum(),
            p50: middle(|one| one.p50),
            p90: middle(|one| one.p90),
            p99: middle(|one| one.p99),
            p999: middle(|one| one.p999),
            max: all.iter().map(|one| one.max).fold(0.0, f64::max),
            own_wait: middle(|one| one.own_wait),
        }
    }

    /// Fails if more than one request in a thousand failed. (A machine that has
    /// much else to do lets a look-up in Redis time out now and then.)
    pub fn with_few_failures(self) -> Result<Self> {
        ensure!(
            self.good > 0 && self.failed * 1000 <= self.good,
            "{} requests were answered, {} failed: {:?}",
            self.good,
            self.failed,
            self.failures
        );
        Ok(self)
    }
}

impl Load {
    /// Runs it, and waits for its end.
    pub async fn run(&self) -> Result<Outcome> {
        let (load, (sender, receiver)) = (self.clone(), oneshot::channel());
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                // Nobody listens any more if the waiting was broken off.
                let _given_up = sender.send(load.work());
            })?;
        receiver.await.context("the load's thread died")?
    }

    fn work(self) -> Result<Outcome> {
        cpu::pin_thread(0, &self.cores)?;
        // A load from another machine would not wait for a core of this one.
        if self.first {
            ensure!(
                self.rate.is_some(),
                "a load without a rate may not go first"
            );
            cpu::go_first(0)?;
        } else {
            cpu::prefer(0)?;
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Rc::new(Shared::new(&self)?);
        LocalSet::new().block_on(&runtime, async {
            let clients: Vec<_> = (0..self.connections)
                .map(|number| {
                    let client = Client::new(&self, number, Rc::clone(&shared));
                    tokio::task::spawn_local(client.run())
                })
                .collect();
            for client in clients {
                client.await?;
            }
            anyhow::Ok(())
        })?;
        let mut outcome = shared.outcome();
        // Not every kernel counts this.
        if let Ok((waited, times)) = cpu::waited() {
            outcome.own_wait = waited.as_secs_f64() * 1e6 / times.max(1) as f64;
        }
        Ok(outcome)
    }
}

/// What all connections of a load have together.
struct Shared {
    begin: Instant,
    end: Option<Instant>,
    flag: Option<Arc<AtomicBool>>,
    left: Cell<u64>,
    times: RefCell<Histogram<u64>>,
    good: Cell<u64>,
    failures: RefCell<BTreeMap<String, u64>>,
}

impl Shared {
    fn new(load: &Load) -> Result<Self> {
        let begin = Instant::now();
        let (mut end, mut flag, mut left) = (None, None, u64::MAX);
        match &load.until {
            Until::Time(time) => end = Some(begin + *time),
            Until::Requests(number) => left = *number,
            Until::Flag(set) => flag = Some(Arc::clone(set)),
        }
        Ok(Self {
            begin,
            end,
            flag,
            left: Cell::new(left),
            times: RefCell::new(Histogram::new_with_bounds(100, LONGEST, 3)?),
            good: Cell::new(0),
            failures: RefCell::default(),
        })
    }

    /// Whether another request may begin.
    fn take(&self) -> bool {
        let left = self.left.get();
        if left == 0
            || self.end.is_some_and(|end| Instant::now() >= end)
            || self
                .flag
                .as_ref()
                .is_some_and(|flag| flag.load(Ordering::Relaxed))
        {
            return false;
        }
        self.left.set(left - 1);
        true
    }

    fn fail(&self, what: String) {
        *self.failures.borrow_mut().entry(what).or_default() += 1;
    }

    fn outcome(&self) -> Outcome {
        let times = self.times.borrow();
        let at = |share| times.value_at_quantile(share) as f64 / 1e3;
        let failures = self.failures.borrow().clone();
        Outcome {
            good: self.good.get(),
            failed: failures.values().sum(),
            failures,
            seconds: self.begin.elapsed().as_secs_f64(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: times.max() as f64 / 1e3,
            own_wait: 0.0,
        }
    }
}

/// One connection.
struct Client {
    target: SocketAddr,
    hosts: Hosts,
    /// Between two requests.
    pause: Option<Duration>,
    due: Instant,
    random: StdRng,
    host: String,
    request: String,
    answer: Vec<u8>,
    stream: Option<TcpStream>,
    shared: Rc<Shared>,
}

impl Client {
    fn new(load: &Load, number: usize, shared: Rc<Shared>) -> Self {
        let share = load.connections as f64;
        let pause = load.rate.map(|rate| Duration::from_secs_f64(share / rate));
        let late = pause.map_or(Duration::ZERO, |pause| pause.mul_f64(number as f64 / share));
        Self {
            target: load.target,
            hosts: load.hosts.clone(),
            pause,
            due: shared.begin + late,
            random: StdRng::seed_from_u64(load.seed.wrapping_add(number as u64)),
            host: String::new(),
            request: String::new(),
            answer: Vec::with_capacity(16 * 1024),
            stream: None,
            shared,
        }
    }

    async fn run(mut self) {
        // Who keeps its connections has them before it begins. If this fails,
        // the first request tells.
        let _not_yet = self.connect().await;
        while self.shared.take() {
            let begin = self.turn().await;
            match timeout(PATIENCE, self.ask()).await {
                Ok(Ok(status)) => {
                    let nanos = begin.elapsed().as_nanos() as u64;
                    self.shared.times.borrow_mut().saturating_record(nanos);
                    if status == 200 {
                        self.shared.good.set(self.shared.good.get() + 1);
                    } else {
                        self.shared.fail(format!("status {status}"));
                    }
                }
                Ok(Err(error)) => self.broke_off(error.to_string()),
                Err(_) => self.broke_off("no answer".to_owned()),
            }
        }
    }

    /// Waits until the next request is due; answers when it began.
    async fn turn(&mut self) -> Instant {
        let Some(pause) = self.pause else {
            return Instant::now();
        };
        let due = self.due;
        self.due += pause;
        if due < Instant::now() {
            return due;
        }
        sleep_until(due.into()).await;
        Instant::now()
    }

    async fn connect(&mut self) -> Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.target).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        Ok(())
    }

    fn broke_off(&mut self, why: String) {
        self.stream = None;
        self.shared.fail(why);
    }

    /// One request; answers the status.
    async fn ask(&mut self) -> Result<u16> {
        self.host.clear();
        (self.hosts.0)(&mut self.random, &mut self.host);
        self.request.clear();
        write!(
            self.request,
            "GET / HTTP/1.1\r\nHost: {}\r\n\r\n",
            self.host
        )?;
        self.connect().await?;
        let stream = self.stream.as_mut().context("no connection")?;
        stream.write_all(self.request.as_bytes()).await?;
        self.answer.clear();
        loop {
            let read = stream.read_buf(&mut self.answer).await?;
            ensure!(read > 0, "closed without an answer");
            if let Some(answer) = parse(&self.answer)? {
                if answer.closes {
                    self.stream = None;
                }
                return Ok(answer.status);
            }
        }
    }
}

struct Answer {
    status: u16,
    closes: bool,
}

/// A whole answer, or nothing while a part is missing.
fn parse(bytes: &[u8]) -> Result<Option<Answer>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(head) = response.parse(bytes)? else {
        return Ok(None);
    };
    let status = response.code.context("no status")?;
    let (mut length, mut closes) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(std::str::from_utf8(header.value)?.parse::<usize>()?);
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let length = length.context("an answer without a Content-Length")?;
    let whole = bytes.len() >= head + length;
    Ok(whole.then_some(Answer { status, closes }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64, out: &mut String) {
        let _never = write!(out, "h{number}");
    }

    #[test]
    fn an_answer_is_whole_with_its_body() {
        let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
        assert!(parse(&text[..text.len() - 1]).unwrap().is_none());
        let answer = parse(text).unwrap().unwrap();
        assert_eq!((answer.status, answer.closes), (404, true));
    }

    #[test]
    fn by_zipf_the_first_one_leads() {
        let hosts = Hosts::zipf(1000, 1.0, name).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            let mut host = String::new();
            (hosts.0)(&mut random, &mut host);
            *counts.entry(host).or_default() += 1;
        }
        // Its share is 1 / (1 + 1/2 + … + 1/1000) = 13.4 %.
        let first = counts["h0"];
        assert!((1200..1500).contains(&first), "{first}");
    }

    #[tokio::test]
    async fn a_load_counts_good_and_bad_answers() {
        let app = axum::Router::new().fallback(async |headers: axum::http::HeaderMap| {
            let known = headers.get("host").is_some_and(|host| host == "h0");
            let status = if known { 200 } else { 404 };
            (axum::http::StatusCode::from_u16(status).unwrap(), "body")
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, app).await });
        let load = Load {
            target,
            connections: 4,
            hosts: Hosts::each(2, name),
            until: Until::Requests(1000),
            rate: Some(10_000.0),
            cores: cpu::Cores::of_this_machine().unwrap().load,
            first: false,
            seed: 1,
        };
        let outcome = load.run().await.unwrap();
        server.abort();
        assert_eq!((outcome.good, outcome.failed), (500, 500));
        assert_eq!(outcome.failures["status 404"], 500);
        assert!(outcome.seconds >= 0.09, "{}", outcome.seconds);
        assert!(outcome.p50 > 0.0 && outcome.max >= outcome.p99);
    }
}
