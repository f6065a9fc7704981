//! Rounds in which each candidate gets the same load for a moment.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::load::{Hosts, Load, Outcome, Until};
use crate::proxy::Proxy;
use crate::report::Table;
use crate::stats::{self, Spread};

/// The load of a round.
#[derive(Clone)]
pub struct Round {
    /// Connections, each of which asks again when it is answered.
    pub connections: usize,
    /// For each candidate.
    pub time: Duration,
    /// What is asked for.
    pub hosts: Hosts,
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

/// One candidate, once.
pub async fn sample(ctx: &Context, proxy: &Proxy, round: &Round, seed: u64) -> Result<Sample> {
    let load = Load {
        target: proxy.addr,
        connections: round.connections,
        hosts: round.hosts.clone(),
        until: Until::Time(round.time),
        rate: None,
        cores: ctx.cores.load.clone(),
        seed,
    };
    let before = proxy.spent()?;
    let outcome = load.run().await?.without_failures()?;
    let cpu = proxy.spent()?.saturating_sub(before);
    Ok(Sample {
        cpu: cpu.as_secs_f64() * 1e6 / outcome.good as f64,
        throughput: outcome.throughput(),
        outcome,
    })
}

/// All candidates, interleaved, after a round that does not count. In each round
/// all of them are asked for the same hosts.
pub async fn rounds(
    ctx: &Context,
    candidates: &[(String, &Proxy)],
    rounds: usize,
    round: &Round,
) -> Result<Vec<Series>> {
    let mut all: Vec<Series> = candidates
        .iter()
        .map(|(name, _)| Series {
            name: name.clone(),
            samples: Vec::new(),
        })
        .collect();
    for number in 0..=rounds {
        for at in stats::order(candidates.len(), number) {
            let (name, proxy) = &candidates[at];
            let sample = sample(ctx, proxy, round, number as u64)
                .await
                .with_context(|| format!("failed to measure {name}"))?;
            if number > 0 {
                all[at].samples.push(sample);
            }
        }
    }
    Ok(all)
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
