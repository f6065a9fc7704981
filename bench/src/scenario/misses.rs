//! What hosts cost that are not cached: one by one, a thousand requests at once,
//! and floods of hosts that are not there.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::background;
use crate::context::Context;
use crate::fill;
use crate::load::{Hosts, Load, Outcome, Until};
use crate::nginx::{self, Edge, EdgeOptions};
use crate::redis_facts::RedisFacts;
use crate::report::Section;
use crate::stack::{self, Stack};

mod crowd;
mod floods;
mod report;

use crowd::Crowd;
use report::Measured;

const APP: &str = "shop";
const INSTANCES: usize = 4;
const LARGE: &str = "large";
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

/// Hits and misses one after the other, in microseconds.
#[derive(Clone, Debug, Serialize)]
struct Added {
    hit: Outcome,
    miss: Outcome,
}

/// Crowds for different hosts of one large app.
#[derive(Clone, Debug, Serialize)]
struct Large {
    instances: usize,
    hosts: usize,
    cold: Vec<Crowd>,
    warm: Vec<Crowd>,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let cold = ctx.size.pick(200, 2000, 10_000);
    let crowd = ctx.size.pick(100, 1000, 1000);
    let crowds = ctx.size.pick(2, 5, 20);
    let instances = ctx.size.pick(200, 5000, 5000);
    let hosts = ctx.size.pick(20, 200, 200);
    let servers = nginx::app_addrs(INSTANCES + instances)?;
    let apps = nginx::apps(ctx, &servers).await?;
    background::pin_to_edge_side(ctx, &apps)?;
    let stack = Stack::start(ctx).await?;
    let (small_app, large_app) = servers.split_at(INSTANCES);
    let mut entries = Vec::new();
    for (kind, count) in [("known", floods::KNOWN), ("cold", cold), ("crowd", crowds)] {
        entries.extend((0..count).map(|at| fill::route(&format!("{kind}-{at}.example"), APP)));
    }
    entries.extend(floods::late_hosts(ctx).map(|host| fill::route(&host, APP)));
    entries.extend(large_hosts(0..2 * hosts).map(|host| fill::route(&host, LARGE)));
    entries.push(fill::route("*.shallow.example", APP));
    entries.push(fill::route("*.deep.example", APP));
    entries.push(fill::route("known.deep.example", APP));
    for (app, addrs) in [(APP, small_app), (LARGE, large_app)] {
        let of_app = addrs.iter().enumerate();
        entries.extend(
            of_app.map(|(number, addr)| fill::instance(app, &format!("{app}-{number}"), *addr)),
        );
    }
    let revision = fill::put_all(&stack.etcd.url(), entries).await;
    stack.has_synced(revision, PATIENCE).await?;
    let mut facts = RedisFacts::connect(&stack.redis.url()).await?;

    let edge = fresh_edge(ctx, &stack, 1, revision).await?;
    let added = added(ctx, &edge, cold).await?;
    let floods = floods::run(ctx, &edge, &mut facts).await?;
    edge.proxy.stop().await;

    let edge = fresh_edge(ctx, &stack, WORKERS, revision).await?;
    let mut lookups = Vec::new();
    for number in 0..crowds {
        let host = format!("crowd-{number}.example");
        lookups.push(crowd::ask_for_one(&edge, &mut facts, &host, crowd).await?);
    }
    edge.proxy.stop().await;

    let mut large = Large {
        instances,
        hosts,
        cold: Vec::new(),
        warm: Vec::new(),
    };
    for _ in 0..ctx.size.pick(1, 3, 5) {
        let edge = fresh_edge(ctx, &stack, 1, revision).await?;
        let (first, second) = (0..hosts, hosts..2 * hosts);
        let crowd = crowd::ask(&edge, &mut facts, large_hosts(first).collect(), false).await?;
        large.cold.push(crowd);
        let crowd = crowd::ask(&edge, &mut facts, large_hosts(second).collect(), false).await?;
        large.warm.push(crowd);
        edge.proxy.stop().await;
    }
    ctx.say(&format!("{large:?}"));
    stack.stop().await;
    apps.stop().await;
    Ok(report::section(&Measured {
        added,
        crowd,
        lookups,
        large,
        floods,
    }))
}

fn large_hosts(numbers: std::ops::Range<usize>) -> impl Iterator<Item = String> {
    numbers.map(|at| format!("large-{at}.example"))
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
        first: false,
        seed: 1,
    };
    let miss = load.run().await?.with_few_failures()?;
    let hit = load.run().await?.with_few_failures()?;
    Ok(Added { hit, miss })
}
