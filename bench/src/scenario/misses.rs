//! What hosts cost that are not cached: one by one, a thousand requests at once,
//! and floods of hosts that are not there.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pointsman::dev::http;
use rand::RngExt;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::background::{self, Background};
use crate::context::Context;
use crate::fill;
use crate::load::{Hosts, Load, Outcome, Until};
use crate::nginx::{self, Edge, EdgeOptions};
use crate::redis_facts::{Counters, RedisFacts};
use crate::report::{Aim, Section, Table};
use crate::stack::{self, Stack};
use crate::stats::Spread;

const APP: &str = "shop";
const INSTANCES: usize = 4;
const KNOWN: u64 = 1000;
const KNOWN_RATE: f64 = 1000.0;
/// Connections of a flood.
const FLOOD: usize = 64;
const WORKERS: usize = 2;
/// How long Redis keeps silent while a crowd waits for one host.
const SILENCE: u64 = 300;
const PATIENCE: Duration = Duration::from_secs(60);

/// Hits and misses one after the other, in microseconds.
#[derive(Clone, Debug, Serialize)]
struct Added {
    hit: Outcome,
    miss: Outcome,
}

/// A flood, and what it did.
#[derive(Clone, Debug, Serialize)]
struct Flooded {
    name: &'static str,
    known: Outcome,
    flood: Option<Outcome>,
    seconds: f64,
    redis_commands: u64,
    lookups: u64,
    evicted: u64,
    negatives: u64,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let cold = ctx.size.pick(200, 2000, 10_000);
    let crowd = ctx.size.pick(100, 1000, 1000);
    let crowds = ctx.size.pick(2, 5, 20);
    let servers = nginx::app_addrs(INSTANCES)?;
    let apps = nginx::apps(ctx, &servers).await?;
    background::pin_to_edge_side(ctx, &apps)?;
    let stack = Stack::start(ctx).await?;
    let mut entries = Vec::new();
    for (kind, count) in [("known", KNOWN), ("cold", cold), ("crowd", crowds)] {
        entries.extend((0..count).map(|at| fill::route(&format!("{kind}-{at}.example"), APP)));
    }
    entries.push(fill::route("*.shallow.example", APP));
    entries.push(fill::route("*.deep.example", APP));
    entries.push(fill::route("known.deep.example", APP));
    for (number, addr) in servers.iter().enumerate() {
        entries.push(fill::instance(APP, &format!("{APP}-{number}"), *addr));
    }
    let revision = fill::put_all(&stack.etcd.url(), entries.into_iter()).await?;
    stack.has_synced(revision, PATIENCE).await?;
    let mut facts = RedisFacts::connect(&stack.redis.url()).await?;

    let edge = fresh_edge(ctx, &stack, 1, revision).await?;
    let added = added(ctx, &edge, cold).await?;
    let floods = floods(ctx, &edge, &mut facts).await?;
    edge.proxy.stop().await;

    let edge = fresh_edge(ctx, &stack, WORKERS, revision).await?;
    let mut lookups = Vec::new();
    for number in 0..crowds {
        let host = format!("crowd-{number}.example");
        lookups.push(one_crowd(&edge, &mut facts, &host, crowd).await?);
    }
    edge.proxy.stop().await;
    stack.stop().await;
    apps.stop().await;
    Ok(section(&added, crowd, &lookups, &floods))
}

async fn fresh_edge(ctx: &Context, stack: &Stack, workers: usize, revision: i64) -> Result<Edge> {
    let options = EdgeOptions {
        workers: Some(workers),
        ..EdgeOptions::default()
    };
    let edge = nginx::edge(ctx, &stack.redis.url(), "known-0.example", &options).await?;
    stack::has_applied(edge.status, revision, PATIENCE).await?;
    Ok(edge)
}

fn numbered(kind: &'static str, count: u64) -> Hosts {
    Hosts::each(count, move |number, out| {
        use std::fmt::Write as _;
        // Writing into a string does not fail.
        let _written = write!(out, "{kind}-{number}.example");
    })
}

fn random_under(domain: &'static str) -> Hosts {
    Hosts::of(move |random, out| {
        use std::fmt::Write as _;
        let number: u64 = random.random();
        // Writing into a string does not fail.
        let _written = write!(out, "x{number:016x}.{domain}");
    })
}

/// One request at a time over one connection: each host once, then the same
/// hosts once more.
async fn added(ctx: &Context, edge: &Edge, count: u64) -> Result<Added> {
    let load = Load {
        target: edge.proxy.addr,
        connections: 1,
        hosts: numbered("cold", count),
        until: Until::Requests(count),
        rate: None,
        cores: background::edge_side(ctx),
        seed: 1,
    };
    let miss = load.run().await?.with_few_failures()?;
    let hit = load.run().await?.with_few_failures()?;
    Ok(Added { hit, miss })
}

/// So many requests for a host that nobody has asked for, while Redis holds its
/// answers back; answers the look-ups that they caused.
async fn one_crowd(edge: &Edge, facts: &mut RedisFacts, host: &str, crowd: usize) -> Result<u64> {
    let target = edge.proxy.addr;
    let connect = move || (0..crowd).map(|_| TcpStream::connect(target)).collect();
    let streams: std::io::Result<Vec<TcpStream>> = tokio::task::spawn_blocking(connect).await?;
    let streams = streams?;
    let before = facts.counters().await?;
    facts.pause(SILENCE).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let statuses = tokio::task::spawn_blocking(move || ask_all(streams, &request)).await??;
    let good = statuses
        .iter()
        .filter(|text| text.contains(" 200 "))
        .count();
    ensure!(
        good == crowd,
        "{good} of {crowd} were answered: {:?}",
        statuses.first()
    );
    let after = facts.counters().await?;
    Ok(after.found() - before.found())
}

fn ask_all(mut streams: Vec<TcpStream>, request: &str) -> Result<Vec<String>> {
    for stream in &mut streams {
        stream.write_all(request.as_bytes())?;
    }
    streams.iter_mut().map(status_line).collect()
}

fn status_line(stream: &mut TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

async fn floods(ctx: &Context, edge: &Edge, facts: &mut RedisFacts) -> Result<Vec<Flooded>> {
    let time = Duration::from_millis(ctx.size.pick(300, 3000, 10_000));
    let known = background::steady(ctx, edge, &numbered("known", KNOWN), KNOWN_RATE);
    // All of them are cached then.
    let warm = Load {
        rate: None,
        until: Until::Requests(KNOWN),
        ..known.clone()
    };
    warm.run().await?.with_few_failures()?;
    let kinds = [
        ("none", None),
        ("known hosts", Some(numbered("known", KNOWN))),
        ("unknown hosts", Some(random_under("nowhere.test"))),
        (
            "random subdomains of a wildcard",
            Some(random_under("shallow.example")),
        ),
        (
            "the same, with a route beneath the wildcard",
            Some(random_under("deep.example")),
        ),
    ];
    let mut all = Vec::new();
    for (name, hosts) in kinds {
        let before = (facts.counters().await?, dicts(edge).await?);
        let begin = std::time::Instant::now();
        let steady = Background::start(&known);
        let flood = match hosts {
            None => {
                sleep(time).await;
                None
            }
            Some(hosts) => {
                let load = Load {
                    connections: FLOOD,
                    hosts,
                    until: Until::Time(time),
                    rate: None,
                    cores: ctx.cores.load.clone(),
                    ..known.clone()
                };
                Some(load.run().await?)
            }
        };
        let known = steady.finish().await?;
        let seconds = begin.elapsed().as_secs_f64();
        let after = (facts.counters().await?, dicts(edge).await?);
        let flooded = flooded(name, known, flood, seconds, &before, &after)?;
        ctx.say(&format!("{name}: {flooded:?}"));
        all.push(flooded);
    }
    Ok(all)
}

fn flooded(
    name: &'static str,
    known: Outcome,
    flood: Option<Outcome>,
    seconds: f64,
    before: &(Counters, Value),
    after: &(Counters, Value),
) -> Result<Flooded> {
    let commands = |counters: &Counters| counters.number("total_commands_processed");
    let evicted = |dicts: &Value, dict: &str| dicts[dict]["evicted"].as_u64().unwrap_or(0);
    let evictions =
        |dicts: &Value| evicted(dicts, "pointsman_routes") + evicted(dicts, "pointsman_negatives");
    Ok(Flooded {
        name,
        known,
        flood,
        seconds,
        redis_commands: commands(&after.0)? - commands(&before.0)?,
        lookups: after.0.lookups() - before.0.lookups(),
        evicted: evictions(&after.1) - evictions(&before.1),
        negatives: after.1["pointsman_negatives"]["entries"]
            .as_u64()
            .unwrap_or(0),
    })
}

async fn dicts(edge: &Edge) -> Result<Value> {
    let answer = http::get(edge.status, "localhost", "/pointsman/status").await?;
    let mut facts: Value = serde_json::from_str(&answer.text()).context("no status")?;
    Ok(facts["dicts"].take())
}

fn section(added: &Added, crowd: usize, lookups: &[u64], floods: &[Flooded]) -> Section {
    let mut singles = Table::new(
        "One request at a time",
        &["", "p50 ms", "p99 ms", "worst ms"],
    );
    for (name, outcome) in [
        ("cached host", &added.hit),
        ("host that is not cached", &added.miss),
    ] {
        singles.row(vec![
            name.to_owned(),
            format!("{:.3}", outcome.p50 / 1e3),
            format!("{:.3}", outcome.p99 / 1e3),
            format!("{:.1}", outcome.max / 1e3),
        ]);
    }
    let most = lookups.iter().copied().max().unwrap_or(0);
    let counts: Vec<f64> = lookups.iter().map(|count| *count as f64).collect();
    let mut table = Table::new(
        "Floods, while known hosts are asked for",
        &[
            "flood of",
            "its requests a second",
            "known hosts: p50 ms",
            "p99 ms",
            "failed",
            "look-ups a second",
            "Redis's commands a second",
            "evictions",
        ],
    );
    for one in floods {
        let rate = one.flood.as_ref().map_or(0.0, |flood| {
            (flood.good + flood.failed) as f64 / flood.seconds
        });
        table.row(vec![
            one.name.to_owned(),
            format!("{rate:.0}"),
            format!("{:.2}", one.known.p50 / 1e3),
            format!("{:.2}", one.known.p99 / 1e3),
            one.known.failed.to_string(),
            format!("{:.0}", one.lookups as f64 / one.seconds),
            format!("{:.0}", one.redis_commands as f64 / one.seconds),
            one.evicted.to_string(),
        ]);
    }
    Section {
        title: "Misses and floods".to_owned(),
        text: vec![format!(
            "A miss asks Redis once, and then sends the request on. The crowd: {crowd} requests over \
             as many connections for a host that nobody has asked for, while Redis holds back its \
             answers for {SILENCE} ms, so that all of them are there; {WORKERS} workers, {} times. \
             The floods: {FLOOD} connections that ask again when they are answered, for another \
             host each time, while {KNOWN} known hosts are asked for at {KNOWN_RATE:.0} requests a \
             second over other connections; one worker, which is as busy as it can be, so that \
             the flood of known hosts is what the others are to be compared with.",
            lookups.len()
        )],
        aims: vec![Aim {
            what: "concurrent misses for one host".to_owned(),
            aim: "one look-up for a worker".to_owned(),
            measured: format!("{} for {WORKERS} workers", Spread::of(&counts).show(0)),
            reached: most <= WORKERS as u64,
        }],
        tables: vec![singles, table],
        notes: vec![format!(
            "A miss adds {:.2} ms in the median.",
            (added.miss.p50 - added.hit.p50) / 1e3
        )],
        raw: json!({ "added": added, "crowd": lookups, "floods": floods }),
        ..Section::default()
    }
}
