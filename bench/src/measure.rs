//! Rounds in which each candidate gets the same load for a moment.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::context::Context;
use crate::load::{Hosts, Load, Outcome, Until};
use crate::proxy::Proxy;
use crate::report::Table;
use crate::stats::{self, Spread};

/// Until a proxy has done all that a load has left it to do.
const SETTLING: Duration = Duration::from_millis(10);

/// The load of a round.
#[derive(Clone, Copy)]
pub struct Round {
    /// Connections.
    pub connections: usize,
    /// How often each candidate has its turn in a round. A machine that is
    /// slower for a while is so for all, if the turns are short.
    pub turns: usize,
    /// For each turn.
    pub time: Duration,
    /// Requests a second; `None`: each connection asks again when it is
    /// answered.
    pub rate: Option<f64>,
}

/// Who is measured, and what it is asked for.
pub struct Candidate<'a> {
    /// Its name in the tables.
    pub name: String,
    /// The proxy. Several candidates may be one.
    pub proxy: &'a Proxy,
    /// The hosts.
    pub hosts: Hosts,
}

impl<'a> Candidate<'a> {
    /// With these.
    pub fn new(name: impl Into<String>, proxy: &'a Proxy, hosts: &Hosts) -> Self {
        Self {
            name: name.into(),
            proxy,
            hosts: hosts.clone(),
        }
    }
}

/// What one candidate did in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// CPU time of the proxy in microseconds for each request.
    pub cpu: f64,
    /// Requests a second.
    pub throughput: f64,
    /// The rest, as the clients saw it.
    pub outcome: Outcome,
}

/// All rounds of a candidate.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Series {
    /// The candidate.
    pub name: String,
    /// A sample for each round.
    pub samples: Vec<Sample>,
}

impl Series {
    /// One figure of all rounds.
    pub fn values(&self, of: impl Fn(&Sample) -> f64) -> Vec<f64> {
        self.samples.iter().map(of).collect()
    }

    /// Its middle and spread.
    pub fn spread(&self, of: impl Fn(&Sample) -> f64) -> Spread {
        Spread::of(&self.values(of))
    }

    /// CPU time a request against another candidate's, round by round.
    pub fn cpu_ratio(&self, base: &Self) -> Spread {
        stats::paired(&self.values(|s| s.cpu), &base.values(|s| s.cpu))
    }
}

/// What a candidate did in a turn, or in all turns of a round.
#[derive(Default)]
struct Done {
    cpu: Duration,
    outcomes: Vec<Outcome>,
}

impl Done {
    fn sample(&self) -> Result<Sample> {
        let outcome = Outcome::of_all(&self.outcomes).with_few_failures()?;
        Ok(Sample {
            cpu: self.cpu.as_secs_f64() * 1e6 / outcome.good as f64,
            throughput: outcome.throughput(),
            outcome,
        })
    }
}

/// One candidate, one turn more.
async fn turn(
    ctx: &Context,
    candidate: &Candidate<'_>,
    round: Round,
    seed: u64,
    done: &mut Done,
) -> Result<()> {
    let load = Load {
        target: candidate.proxy.addr,
        connections: round.connections,
        hosts: candidate.hosts.clone(),
        until: Until::Time(round.time),
        rate: round.rate,
        cores: ctx.cores.load.clone(),
        first: false,
        seed,
    };
    let before = candidate.proxy.spent()?;
    let outcome = load.run().await?;
    // It closes connections, and the kernel counts its time at the next tick.
    sleep(SETTLING).await;
    done.cpu += candidate.proxy.spent()?.saturating_sub(before);
    done.outcomes.push(outcome);
    Ok(())
}

/// All candidates, interleaved, after a round that does not count. In each turn
/// all of them are asked with the same random numbers.
pub async fn rounds(
    ctx: &Context,
    candidates: &[Candidate<'_>],
    rounds: usize,
    round: Round,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = candidates
        .iter()
        .map(|candidate| Series {
            name: candidate.name.clone(),
            samples: Vec::new(),
        })
        .collect();
    for number in 0..=rounds {
        let mut done: Vec<Done> = candidates.iter().map(|_| Done::default()).collect();
        for turn_number in number * round.turns..(number + 1) * round.turns {
            // Each connection has a seed of its own.
            let seed = (turn_number * round.connections) as u64;
            for at in stats::order(candidates.len(), turn_number) {
                let candidate = &candidates[at];
                turn(ctx, candidate, round, seed, &mut done[at])
                    .await
                    .with_context(|| format!("failed to measure {}", candidate.name))?;
            }
        }
        if number > 0 {
            for (series, done) in all.iter_mut().zip(&done) {
                let sample = done.sample();
                let failed = || format!("failed to measure {}", series.name);
                series.samples.push(sample.with_context(failed)?);
            }
        }
    }
    Ok(all)
}

/// The rounds of several starts of the same candidates.
pub fn joined(starts: &[Vec<Series>]) -> Vec<Series> {
    let mut all: Vec<Series> = Vec::new();
    for series in starts.iter().flatten() {
        match all.iter_mut().find(|one| one.name == series.name) {
            Some(one) => one.samples.extend(series.samples.iter().cloned()),
            None => all.push(series.clone()),
        }
    }
    all
}

/// What is to be said of requests that failed; nothing, if none did.
pub fn failures(all: &[Series]) -> Option<String> {
    let failed: u64 = all
        .iter()
        .flat_map(|one| &one.samples)
        .map(|sample| sample.outcome.failed)
        .sum();
    (failed > 0).then(|| format!("{failed} requests failed in all."))
}

/// A row for each candidate; the first one is what the others are compared with.
pub fn table(title: &str, all: &[Series]) -> Table {
    let mut table = Table::new(
        title,
        &[
            "",
            "CPU µs a request",
            "× the first",
            "requests a second",
            "p50 ms",
            "p99 ms",
            "worst ms",
        ],
    );
    let Some(base) = all.first() else {
        return table;
    };
    for one in all {
        let millis =
            |of: fn(&Outcome) -> f64| format!("{:.2}", one.spread(|s| of(&s.outcome) / 1e3).median);
        table.row(vec![
            one.name.clone(),
            one.spread(|s| s.cpu).show(1),
            one.cpu_ratio(base).show(3),
            format!("{:.0}", one.spread(|s| s.throughput).median),
            millis(|o| o.p50),
            millis(|o| o.p99),
            format!("{:.1}", one.spread(|s| s.outcome.max / 1e3).max),
        ]);
    }
    table
}
