//! How long a change takes from etcd to the requests that it is about.
//!
//! An instance is put into etcd and deleted again, and every nginx worker is
//! asked over a kept connection until all of them show it: the last one counts.
//! Beside it stands the bare `put → watch` of the same etcd, in the same run
//! and with the same spacing.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::background::Background;
use crate::context::Context;
use crate::cpu;
use crate::fill;
use crate::load::{Hosts, Load, Outcome, Until};
use crate::nginx::{self, EdgeOptions};
use crate::peers;
use crate::registry::Shape;
use crate::report::Section;
use crate::stack::{self, Stack};

mod changes;
pub(super) mod poller;
mod report;

use changes::{Changes, Key, Measured};
use poller::Poller;

/// The app that changes, and its host.
const HOST: &str = "bench.example";
const APP: &str = "bench";
/// The hosts of the load.
const LOAD_APP: &str = "load";
const LOAD_HOSTS: u64 = 100;
const RATE: f64 = 10_000.0;
const IN_FLIGHT: [usize; 3] = [1, 10, 100];
const SPACING: Duration = Duration::from_millis(20);
const WARM_UP: usize = 10;
pub(super) const WORKER_LOCATION: &str = "        location = /_worker { return 200 $pid; }\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// What was measured of one load and number of changes in flight.
#[derive(Clone, Debug, Serialize)]
struct Series {
    name: String,
    in_flight: usize,
    load: Option<Outcome>,
    measured: Measured,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let cores = cpu::all(&ctx.cores);
    let workers = cores.len().clamp(2, 4);
    let servers = nginx::app_addrs(4)?;
    let apps = nginx::apps(ctx, &servers).await?;
    let mut stack = Stack::start(ctx).await?;
    let crowd: Vec<Key> = (0..IN_FLIGHT[2])
        .map(|at| crowd_key(at, servers[0]))
        .collect();
    let revision = fill(ctx, &stack, &servers, &crowd).await;
    stack.has_synced(revision, PATIENCE).await?;
    let options = EdgeOptions {
        workers: Some(workers),
        server_lines: WORKER_LOCATION.to_owned(),
        ..EdgeOptions::default()
    };
    let edge = nginx::edge(ctx, &stack.redis.url(), HOST, &options).await?;
    stack::has_applied(edge.status, revision, PATIENCE).await?;
    stack.pin_to(&cores)?;
    cpu::pin(edge.proxy.pids()[0], &cores)?;
    cpu::pin(apps.pids()[0], &cores)?;

    let load = Load {
        target: edge.proxy.addr,
        connections: 32,
        hosts: Hosts::each(LOAD_HOSTS, |number, out| {
            use std::fmt::Write as _;
            // Writing into a string does not fail.
            let _written = write!(out, "load-{number}.example");
        }),
        until: Until::Time(Duration::ZERO),
        rate: Some(RATE),
        cores: cores.clone(),
        first: false,
        seed: 1,
    };
    let measured = Key {
        key: format!("/pointsman/instances/{APP}/1"),
        value: shared(servers[0]),
    };
    let poller = Poller::connect(&[edge.proxy.addr], workers, HOST)?;
    let mut changes = Changes::new(&stack.etcd.url(), poller, measured, crowd).await?;
    // The instance is there, as the edge was started with it.
    changes.begin_without()?;
    changes.run(WARM_UP, 1, Duration::ZERO)?;

    let mut all = Vec::new();
    for loaded in [false, true] {
        for in_flight in IN_FLIGHT {
            all.push(series(ctx, &mut changes, in_flight, loaded.then_some(&load)).await?);
        }
    }
    drop(changes);
    edge.proxy.stop().await;
    let traefik = traefik(ctx, &stack, servers[0]).await?;
    stack.stop().await;
    apps.stop().await;
    Ok(report::section(workers, &all, traefik.as_ref()))
}

async fn series(
    ctx: &Context,
    changes: &mut Changes,
    in_flight: usize,
    load: Option<&Load>,
) -> Result<Series> {
    let count = ctx.size.pick(5, 50, 300);
    let background = load.map(Background::start);
    if background.is_some() {
        // All workers have the hosts cached by then.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let measured = changes.run(count, in_flight, SPACING)?;
    let load = match background {
        Some(background) => Some(background.finish().await?),
        None => None,
    };
    let under = if load.is_some() { "under load" } else { "idle" };
    let name = format!("{under}, {in_flight} in flight");
    ctx.say(&name);
    Ok(Series {
        name,
        in_flight,
        load,
        measured,
    })
}

fn shared(addr: SocketAddr) -> String {
    format!(r#"{{"addr":"{addr}","shared":true}}"#)
}

fn crowd_key(number: usize, addr: SocketAddr) -> Key {
    Key {
        key: format!("/pointsman/instances/crowd-{number}/1"),
        value: shared(addr),
    }
}

/// Puts all into etcd: what is measured, what changes with it, what is asked for
/// by the load, and others.
async fn fill(ctx: &Context, stack: &Stack, servers: &[SocketAddr], crowd: &[Key]) -> i64 {
    let shape = Shape {
        routes: ctx.size.pick(100, 1000, 10_000),
        apps: ctx.size.pick(100, 1000, 1000),
        each: 1,
    };
    let mut entries = vec![
        fill::route(HOST, APP),
        (format!("instances/{APP}/1"), shared(servers[0])),
    ];
    for (number, key) in crowd.iter().enumerate() {
        let app = format!("crowd-{number}");
        entries.push(fill::route(&format!("{app}.example"), &app));
        entries.push((format!("instances/{app}/1"), key.value.clone()));
    }
    for number in 0..LOAD_HOSTS {
        entries.push(fill::route(&format!("load-{number}.example"), LOAD_APP));
    }
    for (number, addr) in servers.iter().enumerate() {
        let key = format!("instances/{LOAD_APP}/{LOAD_APP}-{number}");
        entries.push((key, shared(*addr)));
    }
    let entries = entries.into_iter().chain(shape.entries());
    fill::put_all(&stack.etcd.url(), entries).await
}

/// The same of Traefik with its etcd provider, one change at a time; nothing, if
/// it is not installed.
async fn traefik(ctx: &Context, stack: &Stack, server: SocketAddr) -> Result<Option<Measured>> {
    const HOST: &str = "traefik.example";
    let Some(proxy) = peers::traefik(ctx, &stack.etcd.url(), HOST, &[server]).await? else {
        return Ok(None);
    };
    let measured = Key {
        key: "traefik/http/services/bench/loadbalancer/servers/0/url".to_owned(),
        value: format!("http://{server}"),
    };
    let poller = Poller::to_one(proxy.addr, HOST)?;
    let mut changes = Changes::new(&stack.etcd.url(), poller, measured, Vec::new()).await?;
    changes.begin_without()?;
    let measured = changes.run(ctx.size.pick(1, 3, 10), 1, SPACING);
    proxy.stop().await;
    measured.map(Some)
}
