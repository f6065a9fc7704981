//! What is said about it.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use pointsman_harness::http;
use serde_json::{Value, json};

use super::{EXPONENT, INSTANCES, Measured};
use crate::measure::{self, Series};
use crate::nginx::KEEPALIVE;
use crate::report::{Aim, Chart, Line, Section, Table};

const GROWTH_AIM: f64 = 1.10;
const PAUSE_AIM_MS: f64 = 2.0;

/// Facts of an edge's status page.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Facts {
    /// Requests whose route the worker had in its own table.
    pub l1: f64,
    /// Those whose route was in the shared dict.
    pub l2: f64,
    /// Those for which Redis was asked.
    pub redis: f64,
    /// Routes that had to make room in the shared dict.
    pub evicted: f64,
    /// Bytes of the shared dict that are not free.
    pub used: f64,
}

impl Facts {
    /// What was counted since.
    pub fn since(self, before: Self) -> Self {
        Self {
            l1: self.l1 - before.l1,
            l2: self.l2 - before.l2,
            redis: self.redis - before.redis,
            evicted: self.evicted - before.evicted,
            used: self.used,
        }
    }
}

/// Reads them.
pub async fn status(status: SocketAddr) -> Result<Facts> {
    let answer = http::get(status, "localhost", "/pointsman/status").await?;
    let page: Value = serde_json::from_str(&answer.text())?;
    let number = |value: &Value| value.as_f64().context("the status page lacks a number");
    let routes = &page["dicts"]["pointsman_routes"];
    Ok(Facts {
        l1: number(&page["hits"]["l1"])?,
        l2: number(&page["hits"]["l2"])?,
        redis: number(&page["hits"]["redis"])?,
        evicted: number(&routes["evicted"])?,
        used: number(&routes["capacity"])? - number(&routes["free"])?,
    })
}

/// `1,000,000 hosts`.
pub fn count(hosts: u64) -> String {
    let digits = hosts.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + if hosts == 1 { " host" } else { " hosts" }
}

/// The section.
pub fn section(found: &Measured) -> Result<Section> {
    let largest = found.sizes.len() - 1;
    let (plain, pointsman) = found.saturated.split_at(found.sizes.len());
    let growth = pointsman[largest].cpu_ratio(&pointsman[0]);
    let (_, cycles) = &found.collections[largest];
    let pause = cycles.spread(|cycle| cycle.worst / 1e3);
    let all = count(found.sizes[largest]);
    Ok(Section {
        title: "Growth: the number of hosts".to_owned(),
        text: text(found, &all),
        aims: vec![
            Aim {
                what: format!("CPU a request at {all} against 1 host"),
                aim: format!("≤ {GROWTH_AIM:.2} ×"),
                measured: format!("{} ×", growth.show(3)),
                reached: growth.median <= GROWTH_AIM,
            },
            Aim {
                what: format!("Worst step of the garbage collector at {all}, CPU time"),
                aim: format!("≤ {PAUSE_AIM_MS} ms"),
                measured: format!("{} ms", pause.show(2)),
                reached: pause.max <= PAUSE_AIM_MS,
            },
        ],
        tables: vec![
            costs(plain, pointsman),
            caches(found),
            sweeps(found),
            pauses(&found.pauses),
            collections(found),
        ],
        charts: vec![chart(found, plain, pointsman)],
        notes: notes(found, plain),
        raw: json!({
            "saturated": found.saturated,
            "pauses": found.pauses,
            "collections": found.collections,
            "routes": found.facts,
        }),
        ..Section::default()
    })
}

fn text(found: &Measured, all: &str) -> Vec<String> {
    vec![
        format!(
            "{all} in etcd and Redis, all of one app with {INSTANCES} instances. Each edge is \
             asked for the first 1, 1,000, … of them, and caches what it is asked for: first each \
             once (a quarter of them where the caches are too small), then by Zipf's law with the exponent {EXPONENT} (host n in proportion to \
             1 / n). Plain nginx has one server for all names, the same instances and the same \
             keepalive pool of {KEEPALIVE}, and gets the same requests. {} rounds, in each of which all \
             have {} turns of {} s, interleaved; {} connections that ask again when they are answered.",
            found.rounds,
            found.round.turns,
            found.round.time.as_secs_f64(),
            found.round.connections
        ),
        format!(
            "Writing the table into etcd (transactions of 100 from 16 tasks) took {:.1} s, and it \
             was whole in Redis after {:.1} s.",
            found.filling.etcd, found.filling.redis
        ),
    ]
}

/// Each size against plain nginx with the same requests, and against 1 host.
fn costs(plain: &[Series], pointsman: &[Series]) -> Table {
    let mut table = Table::new(
        "As busy as it can be",
        &[
            "",
            "CPU µs a request",
            "plain nginx",
            "× plain nginx",
            "× 1 host",
            "requests a second",
            "p99 ms",
        ],
    );
    for (at, one) in pointsman.iter().enumerate() {
        // The caches that are too small have the largest number of hosts.
        let base = &plain[at.min(plain.len() - 1)];
        table.row(vec![
            one.name.clone(),
            one.spread(|s| s.cpu).show(1),
            format!("{:.1}", base.spread(|s| s.cpu).median),
            one.cpu_ratio(base).show(3),
            one.cpu_ratio(&pointsman[0]).show(3),
            format!("{:.0}", one.spread(|s| s.throughput).median),
            format!("{:.2}", one.spread(|s| s.outcome.p99 / 1e3).median),
        ]);
    }
    table
}

/// Where the requests of the rounds found their routes.
fn caches(found: &Measured) -> Table {
    let mut table = Table::new(
        "Where these requests found their route",
        &[
            "",
            "worker's table",
            "shared dict",
            "Redis",
            "evictions in all",
            "shared dict MB",
        ],
    );
    for (sweep, (rounds, all)) in found.sweeps.iter().zip(&found.facts) {
        let sum = rounds.l1 + rounds.l2 + rounds.redis;
        let share = |part: f64| format!("{:.1} %", part / sum.max(1.0) * 100.0);
        table.row(vec![
            sweep.name.clone(),
            share(rounds.l1),
            share(rounds.l2),
            share(rounds.redis),
            format!("{:.0}", all.evicted),
            format!("{:.0}", all.used / 1e6),
        ]);
    }
    table
}

fn sweeps(found: &Measured) -> Table {
    let mut table = Table::new(
        "Hosts asked for the first time (a look-up in Redis each)",
        &[
            "",
            "first requests",
            "failed",
            "CPU µs a request",
            "p50 ms",
            "p99 ms",
            "worst ms",
            "Lua heap MB",
            "worker's memory MB",
        ],
    );
    for sweep in &found.sweeps {
        let outcome = &sweep.outcome;
        table.row(vec![
            sweep.name.clone(),
            count(sweep.hosts),
            outcome.failed.to_string(),
            format!("{:.1}", sweep.cpu),
            format!("{:.2}", outcome.p50 / 1e3),
            format!("{:.2}", outcome.p99 / 1e3),
            format!("{:.1}", outcome.max / 1e3),
            format!("{:.1}", sweep.heap / 1e6),
            format!("{:.0}", sweep.resident as f64 / 1e6),
        ]);
    }
    table
}

fn pauses(all: &[Series]) -> Table {
    let mut table = Table::new(
        "Latency at a fixed rate, the heap at its largest",
        &["", "p50 ms", "p99 ms", "p99.9 ms", "worst ms of a round"],
    );
    for one in all {
        table.row(vec![
            one.name.clone(),
            format!("{:.2}", one.spread(|s| s.outcome.p50 / 1e3).median),
            one.spread(|s| s.outcome.p99 / 1e3).show(2),
            one.spread(|s| s.outcome.p999 / 1e3).show(2),
            one.spread(|s| s.outcome.max / 1e3).show(1),
        ]);
    }
    table
}

fn collections(found: &Measured) -> Table {
    let mut table = Table::new(
        "Steps of the garbage collector in a worker that has nothing else to do",
        &[
            "",
            "Lua heap MB",
            "steps in a cycle",
            "p50 µs",
            "p99 µs",
            "worst ms, CPU",
            "worst ms, clock",
        ],
    );
    for (hosts, cycles) in &found.collections {
        table.row(vec![
            count(*hosts),
            format!("{:.1}", cycles.spread(|cycle| cycle.heap / 1e6).median),
            format!("{:.0}", cycles.spread(|cycle| cycle.steps).median),
            format!("{:.1}", cycles.spread(|cycle| cycle.p50).median),
            format!("{:.1}", cycles.spread(|cycle| cycle.p99).median),
            cycles.spread(|cycle| cycle.worst / 1e3).show(2),
            cycles.spread(|cycle| cycle.worst_wall / 1e3).show(2),
        ]);
    }
    table
}

fn chart(found: &Measured, plain: &[Series], pointsman: &[Series]) -> Chart {
    let line = |name: &str, all: &[Series]| Line {
        name: name.to_owned(),
        points: all
            .iter()
            .map(|one| one.spread(|sample| sample.cpu))
            .map(|spread| [spread.min, spread.median, spread.max])
            .collect(),
    };
    Chart {
        file: "growth".to_owned(),
        title: "CPU time for each request by the number of hosts".to_owned(),
        unit: "µs".to_owned(),
        places: found.sizes.iter().map(|&hosts| count(hosts)).collect(),
        lines: vec![
            line("plain nginx", plain),
            line("Pointsman", &pointsman[..plain.len()]),
        ],
    }
}

fn notes(found: &Measured, plain: &[Series]) -> Vec<String> {
    let largest = plain.len() - 1;
    let mut notes = vec![
        format!(
            "Many hosts cost plain nginx, which does not look at them, {} × of one: that much is \
             the load's.",
            plain[largest].cpu_ratio(&plain[0]).show(3)
        ),
        format!(
            "For the latencies, {:.0} requests a second came over {} connections, in {} s a round. \
             What plain nginx shows there is the machine's. The collector was then taken through \
             whole cycles by `collectgarbage(\"step\", 0)`, which does what happens by itself \
             between requests.",
            found.paced.rate.unwrap_or_default(),
            found.paced.connections,
            found.paced.time.as_secs_f64()
        ),
    ];
    notes.extend(measure::failures(&found.saturated));
    notes
}
