//! Load on cores of its own.
//!
//! Closed: each connection asks again as soon as it is answered. Open: so many
//! requests a second, and a request that had to wait for an earlier one is
//! measured from when it was due.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
pub use pointsman_harness::load::Hosts;
use pointsman_harness::load::{Exchange, Observer, Pace, Requests};
use rand::RngExt;
use rand_distr::Zipf;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{cpu, stats};

/// The longest latency that is told from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// The hosts 0 … `count` - 1, the first ones more often than the later ones, by
/// Zipf's law. `name` writes the host of a number.
pub fn zipf(
    count: u64,
    exponent: f64,
    name: impl Fn(u64, &mut String) + Send + Sync + 'static,
) -> Result<Hosts> {
    let zipf = Zipf::new(count as f64, exponent).map_err(|error| anyhow!("{error}"))?;
    Ok(Hosts::of(move |random, out| {
        name(random.sample(zipf) as u64 - 1, out);
    }))
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
        let taken = Arc::new(Taken::new(&self.until)?);
        let requests = Requests {
            target: self.target,
            connections: self.connections,
            hosts: self.hosts,
            pace: self.rate.map_or(Pace::AtOnce, Pace::Rate),
            repeats: false,
            seed: self.seed,
        };
        runtime.block_on(requests.run(Arc::clone(&taken)));
        let mut outcome = taken.outcome();
        // Not every kernel counts this.
        if let Ok((waited, times)) = cpu::waited() {
            outcome.own_wait = waited.as_secs_f64() * 1e6 / times.max(1) as f64;
        }
        Ok(outcome)
    }
}

/// What all connections of a load have brought. One thread uses it.
struct Taken {
    begin: Instant,
    end: Option<Instant>,
    flag: Option<Arc<AtomicBool>>,
    left: AtomicU64,
    seen: Mutex<Seen>,
}

struct Seen {
    times: Histogram<u64>,
    good: u64,
    failures: BTreeMap<String, u64>,
}

impl Taken {
    fn new(until: &Until) -> Result<Self> {
        let begin = Instant::now();
        let (mut end, mut flag, mut left) = (None, None, u64::MAX);
        match until {
            Until::Time(time) => end = Some(begin + *time),
            Until::Requests(number) => left = *number,
            Until::Flag(set) => flag = Some(Arc::clone(set)),
        }
        Ok(Self {
            begin,
            end,
            flag,
            left: AtomicU64::new(left),
            seen: Mutex::new(Seen {
                times: Histogram::new_with_bounds(100, LONGEST, 3)?,
                good: 0,
                failures: BTreeMap::new(),
            }),
        })
    }

    fn outcome(&self) -> Outcome {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |share| seen.times.value_at_quantile(share) as f64 / 1e3;
        Outcome {
            good: seen.good,
            failed: seen.failures.values().sum(),
            failures: seen.failures.clone(),
            seconds: self.begin.elapsed().as_secs_f64(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: seen.times.max() as f64 / 1e3,
            own_wait: 0.0,
        }
    }
}

impl Observer for Taken {
    fn goes_on(&self) -> bool {
        let is_over = self.end.is_some_and(|end| Instant::now() >= end)
            || self
                .flag
                .as_ref()
                .is_some_and(|flag| flag.load(Ordering::Relaxed));
        let left = self.left.load(Ordering::Relaxed);
        if is_over || left == 0 {
            return false;
        }
        self.left.store(left - 1, Ordering::Relaxed);
        true
    }

    fn note(&self, exchange: &Exchange<'_>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let what = match &exchange.answer {
            Ok(answer) => {
                let nanos = exchange.begin.elapsed().as_nanos() as u64;
                seen.times.saturating_record(nanos);
                if answer.status == 200 {
                    seen.good += 1;
                    return;
                }
                format!("status {}", answer.status)
            }
            Err(error) => error.to_string(),
        };
        *seen.failures.entry(what).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn name(number: u64, out: &mut String) {
        let _never = write!(out, "h{number}");
    }

    #[test]
    fn by_zipf_the_first_one_leads() {
        let hosts = zipf(1000, 1.0, name).unwrap();
        let mut random = StdRng::seed_from_u64(1);
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..10_000 {
            let mut host = String::new();
            hosts.next(&mut random, &mut host);
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
