//! Floods of hosts that are not there, while known and cold ones are asked for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pointsman_dev::http;
use rand::RngExt;
use serde::Serialize;
use serde_json::Value;
use tokio::time::sleep;

use super::numbered;
use crate::background::{self, Background};
use crate::context::Context;
use crate::load::{Hosts, Load, Outcome, Until};
use crate::nginx::Edge;
use crate::redis_facts::{Counters, RedisFacts};

/// Hosts that are cached.
pub const KNOWN: u64 = 1000;
/// Requests a second for them.
pub const KNOWN_RATE: f64 = 1000.0;
/// Requests a second for hosts that have a route and are not cached.
pub const COLD_RATE: f64 = 50.0;
/// Connections of a flood.
pub const FLOOD: usize = 64;

/// A flood, and what it did.
#[derive(Clone, Debug, Serialize)]
pub struct Flooded {
    /// Of what.
    pub name: &'static str,
    /// Requests for known hosts meanwhile.
    pub known: Outcome,
    /// Requests for hosts meanwhile that have a route and are not cached.
    pub cold: Outcome,
    /// Its own requests.
    pub flood: Option<Outcome>,
    /// How long it took.
    pub seconds: f64,
    /// What Redis did meanwhile.
    pub redis_commands: u64,
    /// Look-ups of the edge among that.
    pub lookups: u64,
    /// Routes that the edge's cache threw out.
    pub evicted_routes: u64,
    /// Negatives that it threw out.
    pub evicted_negatives: u64,
}

/// A flood's name, and its hosts.
type Kind = (&'static str, Option<Hosts>);

fn kinds() -> [Kind; 5] {
    [
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
    ]
}

/// The hosts that are asked for once each during one of the floods.
const LATE: [&str; 5] = ["late0", "late1", "late2", "late3", "late4"];

/// How many of each there must be.
fn late(ctx: &Context) -> u64 {
    ctx.size.pick(100, 500, 1000)
}

/// Names of hosts that must have a route, besides the known ones.
pub fn late_hosts(ctx: &Context) -> impl Iterator<Item = String> {
    let count = late(ctx);
    LATE.iter()
        .flat_map(move |kind| (0..count).map(move |at| format!("{kind}-{at}.example")))
}

/// Runs all of them, one after the other.
pub async fn run(ctx: &Context, edge: &Edge, facts: &mut RedisFacts) -> Result<Vec<Flooded>> {
    let known = background::steady(ctx, edge, &numbered("known", KNOWN), KNOWN_RATE);
    // All of them are cached then.
    let warm = Load {
        rate: None,
        until: Until::Requests(KNOWN),
        ..known.clone()
    };
    warm.run().await?.with_few_failures()?;
    let mut all = Vec::new();
    for (kind, late_kind) in kinds().into_iter().zip(LATE) {
        let cold = Load {
            hosts: numbered(late_kind, late(ctx)),
            rate: Some(COLD_RATE),
            connections: 8,
            ..known.clone()
        };
        let flooded = one(ctx, edge, facts, kind, &known, &cold).await?;
        ctx.say(&format!("{}: {flooded:?}", flooded.name));
        all.push(flooded);
    }
    Ok(all)
}

async fn one(
    ctx: &Context,
    edge: &Edge,
    facts: &mut RedisFacts,
    (name, hosts): Kind,
    known: &Load,
    cold: &Load,
) -> Result<Flooded> {
    let time = Duration::from_millis(ctx.size.pick(300, 3000, 10_000));
    let before = (facts.counters().await?, dicts(edge).await?);
    let begin = Instant::now();
    let steady = Background::start(known);
    let cold = Background::start(cold);
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
    let cold = cold.finish().await?;
    let known = steady.finish().await?;
    let seconds = begin.elapsed().as_secs_f64();
    let after = (facts.counters().await?, dicts(edge).await?);
    let commands = |counters: &Counters| counters.number("total_commands_processed");
    let evicted = |dict: &str| {
        let of = |dicts: &Value| dicts[dict]["evicted"].as_u64().unwrap_or(0);
        of(&after.1) - of(&before.1)
    };
    Ok(Flooded {
        name,
        known,
        cold,
        flood,
        seconds,
        redis_commands: commands(&after.0)? - commands(&before.0)?,
        lookups: after.0.lookups() - before.0.lookups(),
        evicted_routes: evicted("pointsman_routes"),
        evicted_negatives: evicted("pointsman_negatives"),
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

async fn dicts(edge: &Edge) -> Result<Value> {
    let answer = http::get(edge.status, "localhost", "/pointsman/status").await?;
    let mut facts: Value = serde_json::from_str(&answer.text()).context("no status")?;
    Ok(facts["dicts"].take())
}
