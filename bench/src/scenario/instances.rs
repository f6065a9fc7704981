//! What a request costs when an app has many instances, and which `keepalive`
//! they need: each instance takes connections of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::fill;
use crate::load::Hosts;
use crate::measure::{self, Candidate, Round, Series};
use crate::nginx::{self, EdgeOptions};
use crate::proxy::Proxy;
use crate::report::{Chart, Line, Section, Table};
use crate::stack::Stack;

const CONNECTIONS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);

/// An app, with its host.
struct App {
    host: String,
    servers: Vec<SocketAddr>,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let sizes = ctx
        .size
        .pick(vec![1, 20], vec![1, 100, 1000], vec![1, 100, 1000]);
    let pools = ctx
        .size
        .pick(vec![8, 32], vec![256, 1024], vec![64, 256, 1024, 2048]);
    let mut addrs = nginx::app_addrs(sizes.iter().sum())?;
    let behind = nginx::apps(ctx, &addrs).await?;
    let apps: Vec<App> = sizes
        .iter()
        .map(|&size| App {
            host: format!("app-{size}.example"),
            servers: addrs.split_off(addrs.len() - size),
        })
        .collect();
    let stack = Stack::start(ctx).await?;
    let revision = fill::put_all(&stack.etcd.url(), entries(&apps)).await;
    stack.has_synced(revision, PATIENCE).await?;

    let (mut plain, mut edges) = (Vec::new(), Vec::new());
    for &pool in &pools {
        for app in &apps {
            plain.push(nginx::plain(ctx, &app.servers, pool).await?);
        }
        let options = EdgeOptions {
            keepalive: Some(pool),
            ..EdgeOptions::default()
        };
        let edge = nginx::edge(ctx, &stack.redis.url(), &apps[0].host, &options).await?;
        edges.push(edge.proxy);
    }
    let rounds = ctx.size.pick(1, 5, 11);
    let round = Round {
        connections: CONNECTIONS,
        turns: 1,
        time: Duration::from_millis(ctx.size.pick(150, 1000, 1500)),
        rate: None,
    };
    let all = measure::rounds(
        ctx,
        &candidates(&apps, &pools, &plain, &edges),
        rounds,
        round,
    )
    .await?;
    for proxy in plain.into_iter().chain(edges) {
        proxy.stop().await;
    }
    stack.stop().await;
    behind.stop().await;
    section(&sizes, &pools, rounds, round, &all)
}

fn entries(apps: &[App]) -> impl Iterator<Item = (String, String)> {
    apps.iter().enumerate().flat_map(|(number, app)| {
        let name = format!("app-{number}");
        let instances = app
            .servers
            .iter()
            .map(|addr| fill::instance(&name, &format!("{}", addr.ip()), *addr))
            .collect::<Vec<_>>();
        instances.into_iter().chain([fill::route(&app.host, &name)])
    })
}

/// For each pool and app: plain nginx, then Pointsman.
fn candidates<'a>(
    apps: &[App],
    pools: &[usize],
    plain: &'a [Proxy],
    edges: &'a [Proxy],
) -> Vec<Candidate<'a>> {
    let mut all = Vec::new();
    for (at, pool) in pools.iter().enumerate() {
        for (number, app) in apps.iter().enumerate() {
            let hosts = Hosts::one(&app.host);
            let of = format!("{} instances, keepalive {pool}", app.servers.len());
            let plain = &plain[at * apps.len() + number];
            all.push(Candidate::new(format!("plain nginx, {of}"), plain, &hosts));
            all.push(Candidate::new(
                format!("Pointsman, {of}"),
                &edges[at],
                &hosts,
            ));
        }
    }
    all
}

fn section(
    sizes: &[usize],
    pools: &[usize],
    rounds: usize,
    round: Round,
    all: &[Series],
) -> Result<Section> {
    let of = |pool: usize, size: usize| {
        let at = 2 * (pool * sizes.len() + size);
        (&all[at], &all[at + 1])
    };
    let mut tables = Vec::new();
    for (number, size) in sizes.iter().enumerate() {
        let mut table = Table::new(
            &format!("{size} instances"),
            &[
                "keepalive",
                "plain nginx, CPU µs a request",
                "Pointsman",
                "× plain nginx",
                "requests a second, plain",
                "Pointsman",
            ],
        );
        for (at, pool) in pools.iter().enumerate() {
            let (plain, pointsman) = of(at, number);
            table.row(vec![
                pool.to_string(),
                plain.spread(|s| s.cpu).show(1),
                pointsman.spread(|s| s.cpu).show(1),
                pointsman.cpu_ratio(plain).show(3),
                format!("{:.0}", plain.spread(|s| s.throughput).median),
                format!("{:.0}", pointsman.spread(|s| s.throughput).median),
            ]);
        }
        tables.push(table);
    }
    let largest = sizes.len() - 1;
    let best = (0..pools.len())
        .min_by(|a, b| {
            let cpu = |at: usize| of(at, largest).1.spread(|s| s.cpu).median;
            cpu(*a).total_cmp(&cpu(*b))
        })
        .context("no pools")?;
    let points = |pick: fn((&Series, &Series)) -> [f64; 3]| {
        (0..pools.len()).map(|at| pick(of(at, largest))).collect()
    };
    Ok(Section {
        title: "Growth: the instances of an app".to_owned(),
        text: vec![format!(
            "Plain nginx has as many `server` lines. `keepalive` is how many idle connections a \
             worker keeps to all instances together. {rounds} interleaved rounds of {} s; {} \
             connections that ask again when they are answered; round robin.",
            round.time.as_secs_f64(),
            round.connections
        )],
        tables,
        charts: vec![Chart {
            file: "instances".to_owned(),
            title: format!(
                "CPU time for each request with {} instances, by keepalive",
                sizes[largest]
            ),
            unit: "µs".to_owned(),
            places: pools.iter().map(usize::to_string).collect(),
            lines: vec![
                Line {
                    name: "plain nginx".to_owned(),
                    points: points(|(plain, _)| range(plain)),
                },
                Line {
                    name: "Pointsman".to_owned(),
                    points: points(|(_, pointsman)| range(pointsman)),
                },
            ],
        }],
        notes: [format!(
            "With {} instances, a request cost Pointsman least with `keepalive {}`.",
            sizes[largest], pools[best]
        )]
        .into_iter()
        .chain(measure::failures(all))
        .collect(),
        raw: serde_json::to_value(all)?,
        ..Section::default()
    })
}

fn range(series: &Series) -> [f64; 3] {
    let spread = series.spread(|sample| sample.cpu);
    [spread.min, spread.median, spread.max]
}
