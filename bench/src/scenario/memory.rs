//! What a host and an instance cost in memory: at the agent, in Redis, in the
//! edge's shared dicts and in a worker.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pointsman_harness::http;
use pointsman_harness::services::Service;
use procfs::process::Process;
use serde::Serialize;
use serde_json::Value;

use crate::context::Context;
use crate::fill;
use crate::load::{Hosts, Load, Until};
use crate::nginx::{self, Edge, EdgeOptions};
use crate::redis_facts::RedisFacts;
use crate::registry::{self, Shape};
use crate::report::{Aim, Section, Table};
use crate::stack::{self, Stack};

const APP: &str = "live";
const HOST: &str = "live.example";
const PATIENCE: Duration = Duration::from_secs(180);
const AIM: f64 = 400.0;
/// Room for a million hosts: nothing is evicted.
const ROUTES_DICT: &str = "512m";
const HEAP: &str = "        location = /heap { content_by_lua_block { \
    collectgarbage() collectgarbage() ngx.print(collectgarbage('count') * 1024) } }\n";

/// Bytes, all of them.
#[derive(Clone, Debug, Default, Serialize)]
struct Figures {
    routes: usize,
    apps: usize,
    instances: usize,
    /// Keys and values of the routes, and of all else, in etcd.
    raw_routes: usize,
    raw_instances: usize,
    agent_empty: u64,
    agent_routes: u64,
    agent_all: u64,
    agent_peak: u64,
    agent_restarted: u64,
    redis_empty: u64,
    redis_routes: u64,
    redis_all: u64,
    dict_routes: u64,
    dict_apps: u64,
    heap_empty: u64,
    heap_routes: u64,
    worker_empty: u64,
    worker_all: u64,
    evicted: u64,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let shape = |routes: usize| Shape {
        routes,
        apps: (routes / 100).max(10),
        each: 10,
    };
    let sizes = ctx
        .size
        .pick(vec![2000], vec![100_000], vec![100_000, 1_000_000]);
    let servers = nginx::app_addrs(1)?;
    let apps = nginx::apps(ctx, &servers).await?;
    let mut all = Vec::new();
    for routes in sizes {
        let figures = measure(ctx, shape(routes), servers[0]).await?;
        ctx.say(&format!("{figures:?}"));
        all.push(figures);
    }
    apps.stop().await;
    section(&all)
}

async fn measure(ctx: &Context, shape: Shape, server: std::net::SocketAddr) -> Result<Figures> {
    let mut stack = Stack::start(ctx).await?;
    let mut facts = RedisFacts::connect(&stack.redis.url()).await?;
    let url = stack.etcd.url();
    let live = [
        fill::route(HOST, APP),
        fill::instance(APP, "live-0", server),
    ];
    let revision = fill::put_all(&url, live).await;
    stack.has_synced(revision, PATIENCE).await?;
    let mut figures = Figures {
        routes: shape.routes,
        apps: shape.apps,
        instances: shape.instances(),
        raw_routes: shape.route_bytes(),
        raw_instances: shape
            .entries()
            .skip(shape.routes)
            .map(|(key, value)| key.len() + value.len())
            .sum(),
        agent_empty: resident(stack.agent.process().pid())?,
        redis_empty: facts.counters().await?.number("used_memory")?,
        ..Figures::default()
    };

    // What events bring in is measured on the way, a fresh listing at the end.
    let revision = fill::put_all(&url, shape.entries().take(shape.routes)).await;
    stack.has_synced(revision, PATIENCE).await?;
    restart(&mut stack, revision).await?;
    figures.agent_routes = resident(stack.agent.process().pid())?;
    figures.redis_routes = stored(&mut facts).await?;
    // Instances that take no requests: a request for them ends at once.
    let instances = shape
        .entries()
        .skip(shape.routes)
        .map(|(key, addr)| (key, format!(r#"{{"addr":"{addr}","weight":0}}"#)));
    let revision = fill::put_all(&url, instances).await;
    stack.has_synced(revision, PATIENCE).await?;
    figures.redis_all = stored(&mut facts).await?;
    figures.agent_all = resident(stack.agent.process().pid())?;
    restart(&mut stack, revision).await?;
    figures.agent_restarted = resident(stack.agent.process().pid())?;
    figures.agent_peak = peak(stack.agent.process().pid())?;

    let edge = filled_edge(ctx, &stack, &mut figures, revision).await?;
    edge.proxy.stop().await;
    stack.stop().await;
    Ok(figures)
}

/// Asks a fresh edge for each host once.
async fn filled_edge(
    ctx: &Context,
    stack: &Stack,
    figures: &mut Figures,
    revision: i64,
) -> Result<Edge> {
    let options = EdgeOptions {
        routes_dict: Some(ROUTES_DICT.to_owned()),
        status_lines: HEAP.to_owned(),
        ..EdgeOptions::default()
    };
    let edge = nginx::edge(ctx, &stack.redis.url(), HOST, &options).await?;
    stack::has_applied(edge.status, revision, PATIENCE).await?;
    let worker = *edge.proxy.pids().last().context("no worker")?;
    let before = dicts(&edge).await?;
    figures.heap_empty = heap(&edge).await?;
    figures.worker_empty = private(worker)?;
    let count = figures.routes as u64;
    let load = Load {
        target: edge.proxy.addr,
        connections: 32,
        hosts: Hosts::each(count, |number, out| {
            out.push_str(&registry::host(number as usize));
        }),
        until: Until::Requests(count),
        rate: None,
        cores: ctx.cores.load.clone(),
        first: false,
        seed: 1,
    };
    let outcome = load.run().await?;
    // All their instances have the weight 0.
    let refused = outcome.failures.get("status 503").copied();
    ensure!(refused == Some(count), "{:?}", outcome.failures);
    let after = dicts(&edge).await?;
    let grown = |name: &str| -> Result<u64> {
        let free = |dicts: &Value| dicts[name]["free"].as_u64().context("no free space");
        Ok(free(&before)?.saturating_sub(free(&after)?))
    };
    figures.dict_routes = grown("pointsman_routes")?;
    figures.dict_apps = grown("pointsman_apps")?;
    figures.evicted = after["pointsman_routes"]["evicted"].as_u64().unwrap_or(0);
    figures.heap_routes = heap(&edge).await?;
    figures.worker_all = private(worker)?;
    Ok(edge)
}

/// Starts the agent anew, and waits until it has listed all.
async fn restart(stack: &mut Stack, revision: i64) -> Result<()> {
    stack.agent.process().stop(Duration::from_secs(8)).await;
    stack.agent.process().respawn().await?;
    stack.agent.ready().await?;
    stack.has_synced(revision, PATIENCE).await
}

/// Bytes that Redis uses for data; it grows its tables a while longer.
async fn stored(facts: &mut RedisFacts) -> Result<u64> {
    facts.counters().await?.number("used_memory")
}

async fn dicts(edge: &Edge) -> Result<Value> {
    let answer = http::get(edge.status, "localhost", "/pointsman/status").await?;
    let mut facts: Value = serde_json::from_str(&answer.text())?;
    Ok(facts["dicts"].take())
}

async fn heap(edge: &Edge) -> Result<u64> {
    let text = http::get(edge.status, "localhost", "/heap").await?.text();
    let bytes: f64 = text.trim().parse().context(text)?;
    Ok(bytes as u64)
}

/// What a process has in memory.
fn resident(pid: i32) -> Result<u64> {
    let kib = Process::new(pid)?.status()?.vmrss.context("no VmRSS")?;
    Ok(kib * 1024)
}

/// The most that it ever had.
fn peak(pid: i32) -> Result<u64> {
    let kib = Process::new(pid)?.status()?.vmhwm.context("no VmHWM")?;
    Ok(kib * 1024)
}

/// What a process has for itself: shared dicts do not count.
fn private(pid: i32) -> Result<u64> {
    let kib = Process::new(pid)?.status()?.rssanon.context("no RssAnon")?;
    Ok(kib * 1024)
}

fn section(all: &[Figures]) -> Result<Section> {
    let mib = |bytes: u64| format!("{:.1}", bytes as f64 / f64::from(1 << 20));
    let each = |bytes: u64, count: usize| format!("{:.0}", bytes as f64 / count as f64);
    let mut table = Table::new("Bytes for each", &["", ""]);
    let mut whole = Table::new("In all, MiB", &["", ""]);
    for figures in all {
        let head = format!("{} routes, {} instances", figures.routes, figures.instances);
        table.rows[0].push(head.clone());
        whole.rows[0].push(head);
    }
    for table in [&mut table, &mut whole] {
        table.rows[0].remove(1);
    }
    type Row = (&'static str, fn(&Figures) -> (u64, usize));
    let rows: [Row; 9] = [
        ("key and value of a route in etcd", |f| {
            (f.raw_routes as u64, f.routes)
        }),
        ("a route at the agent", |f| {
            (f.agent_routes.saturating_sub(f.agent_empty), f.routes)
        }),
        ("an instance at the agent", |f| {
            (
                f.agent_restarted.saturating_sub(f.agent_routes),
                f.instances,
            )
        }),
        ("a route in Redis", |f| {
            (f.redis_routes.saturating_sub(f.redis_empty), f.routes)
        }),
        ("an instance in Redis", |f| {
            (f.redis_all.saturating_sub(f.redis_routes), f.instances)
        }),
        ("a host in the edge's shared dict", |f| {
            (f.dict_routes, f.routes)
        }),
        ("an instance in the edge's shared dict", |f| {
            (f.dict_apps, f.instances)
        }),
        (
            "a host in a worker's Lua heap, its app's share with it",
            |f| (f.heap_routes.saturating_sub(f.heap_empty), f.routes),
        ),
        ("the same, as memory of the process", |f| {
            (f.worker_all.saturating_sub(f.worker_empty), f.routes)
        }),
    ];
    for (name, of) in rows {
        let mut row = vec![name.to_owned()];
        row.extend(all.iter().map(|figures| {
            let (bytes, count) = of(figures);
            each(bytes, count)
        }));
        table.row(row);
    }
    type Whole = (&'static str, fn(&Figures) -> u64);
    let rows: [Whole; 7] = [
        ("agent, nothing in it", |f| f.agent_empty),
        ("agent, all listed", |f| f.agent_restarted),
        ("agent, the most while it listed", |f| f.agent_peak),
        ("agent, instances came as events", |f| f.agent_all),
        ("Redis", |f| f.redis_all),
        ("a worker's Lua heap", |f| f.heap_routes),
        ("a worker, shared dicts not counted", |f| f.worker_all),
    ];
    for (name, of) in rows {
        let mut row = vec![name.to_owned()];
        row.extend(all.iter().map(|figures| mib(of(figures))));
        whole.row(row);
    }
    let last = all.last().context("nothing was measured")?;
    let beyond = (last.agent_peak.saturating_sub(last.agent_empty) as f64
        - (last.raw_routes + last.raw_instances) as f64)
        / last.routes as f64;
    Ok(Section {
        title: "Memory".to_owned(),
        text: vec![format!(
            "Routes that lead to one app for each 100 of them, 10 instances an app. The agent is \
             measured after a restart beside a full Redis; the aim takes the most that it ever \
             had, with all instances, so it is on the safe side. One worker, which is asked for \
             each host once; the dict of routes has {ROUTES_DICT}, so that it evicts nothing. \
             Lua's heap is counted after two full collections."
        )],
        aims: vec![Aim {
            what: format!(
                "agent's memory at {} routes, beyond the raw records",
                last.routes
            ),
            aim: format!("≤ {AIM:.0} bytes a route"),
            measured: format!("{beyond:.0} bytes"),
            reached: beyond <= AIM,
        }],
        tables: vec![table, whole],
        notes: vec![format!(
            "Evictions from the dict of routes: {}.",
            all.iter()
                .map(|f| f.evicted.to_string())
                .collect::<Vec<_>>()
                .join(", ")
        )],
        raw: serde_json::to_value(all)?,
        ..Section::default()
    })
}
