//! What one request costs, with one core: Pointsman beside plain nginx with the
//! same proxy directives, and beside other proxies.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::load::Hosts;
use crate::measure::{self, Candidate, Round, Series};
use crate::nginx::{self, EdgeOptions};
use crate::proxy::Proxy;
use crate::report::{Aim, Chart, Line, Section};
use crate::stack::Stack;
use crate::stats::Spread;
use crate::{fill, peers};

const HOST: &str = "shop.example";
const APP: &str = "shop";
const INSTANCES: usize = 4;
const CONNECTIONS: usize = 32;
const PATIENCE: Duration = Duration::from_secs(30);
const AIM: f64 = 1.05;

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let servers = nginx::app_addrs(INSTANCES)?;
    let apps = nginx::apps(ctx, &servers).await?;
    let stack = Stack::start(ctx).await?;
    let mut entries = vec![fill::route(HOST, APP)];
    for (number, addr) in servers.iter().enumerate() {
        entries.push(fill::instance(APP, &format!("{APP}-{number}"), *addr));
    }
    let revision = fill::put_all(&stack.etcd.url(), entries).await;
    stack.has_synced(revision, PATIENCE).await?;
    set_in_redis(&stack, &servers[0].to_string()).await?;

    let rounds = ctx.size.pick(2, 7, 3);
    let round = Round {
        connections: CONNECTIONS,
        turns: ctx.size.pick(1, 6, 6),
        time: Duration::from_millis(ctx.size.pick(200, 250, 250)),
        rate: None,
    };
    let mut starts = Vec::new();
    let mut skipped = Vec::new();
    let (starts_of_all, more) = ctx.size.pick((1, 0), (1, 0), (4, 12));
    for number in 0..starts_of_all + more {
        let mut candidates = start(ctx, &stack, &servers).await?;
        if number < starts_of_all {
            skipped = add_others(ctx, &stack, &servers, &mut candidates).await?;
        }
        let hosts = Hosts::one(HOST);
        let named: Vec<_> = candidates
            .iter()
            .map(|(name, proxy)| Candidate::new(*name, proxy, &hosts))
            .collect();
        starts.push(measure::rounds(ctx, &named, rounds, round).await?);
        for (_, proxy) in candidates {
            proxy.stop().await;
        }
    }
    stack.stop().await;
    apps.stop().await;
    section(rounds, round, &starts, starts_of_all, &skipped)
}

/// Starts Pointsman, plain nginx twice, and the minimal router.
async fn start(
    ctx: &Context,
    stack: &Stack,
    servers: &[SocketAddr],
) -> Result<Vec<(&'static str, Proxy)>> {
    let edge = nginx::edge(ctx, &stack.redis.url(), HOST, &EdgeOptions::default()).await?;
    Ok(vec![
        (
            "plain nginx",
            nginx::plain(ctx, servers, nginx::KEEPALIVE).await?,
        ),
        ("Pointsman", edge.proxy),
        (
            "plain nginx once more",
            nginx::plain(ctx, servers, nginx::KEEPALIVE).await?,
        ),
        (
            "a minimal router in Lua",
            nginx::minimal(ctx, servers, HOST).await?,
        ),
    ])
}

/// Starts all others, and returns those that are not installed.
async fn add_others(
    ctx: &Context,
    stack: &Stack,
    servers: &[SocketAddr],
    candidates: &mut Vec<(&'static str, Proxy)>,
) -> Result<Vec<&'static str>> {
    candidates.push((
        "nginx asking Redis each time",
        nginx::redis_each(ctx, stack.redis.listen(), HOST).await?,
    ));
    let others = [
        ("HAProxy", peers::haproxy(ctx, HOST, servers).await?),
        ("Caddy", peers::caddy(ctx, HOST, servers).await?),
        (
            "Traefik (etcd)",
            peers::traefik(ctx, &stack.etcd.url(), HOST, servers).await?,
        ),
    ];
    let mut skipped = Vec::new();
    for (name, proxy) in others {
        match proxy {
            Some(proxy) => candidates.push((name, proxy)),
            None => skipped.push(name),
        }
    }
    Ok(skipped)
}

/// What the nginx that asks Redis each time finds there.
async fn set_in_redis(stack: &Stack, addr: &str) -> Result<()> {
    let client = redis::Client::open(stack.redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let mut command = redis::cmd("SET");
    command.arg(format!("bench:{HOST}")).arg(addr);
    let _ok: redis::Value = command.query_async(&mut connection).await?;
    Ok(())
}

fn listed(ratios: &[f64]) -> String {
    let shown: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
    shown.join(", ")
}

fn section(
    rounds: usize,
    round: Round,
    starts: &[Vec<Series>],
    starts_of_all: usize,
    skipped: &[&str],
) -> Result<Section> {
    let all = &measure::joined(starts);
    // A start differs from the next one more than its rounds do.
    let over = |at: usize, base: usize| -> Vec<f64> {
        let ratios = starts
            .iter()
            .map(|all| all[at].cpu_ratio(&all[base]).median);
        ratios.collect()
    };
    let by_start = |at: usize| over(at, 0);
    let ratio = Spread::of(&over(1, 3));
    let mut notes = vec![
        format!(
            "The second plain nginx differs from the first in nothing: its ratio, {}, is what the \
             machine's noise amounts to.",
            Spread::of(&by_start(2)).show(3)
        ),
        format!(
            "The minimal router in Lua has Pointsman's three handlers: the first looks the host up in \
             a table, the second names the next instance, the third counts. It costs {} × plain \
             nginx, median of the starts.",
            Spread::of(&by_start(3)).show(3)
        ),
        format!(
            "A start differs from the next one more than its rounds do. Medians of each: Pointsman \
             {}; plain nginx once more {}; the minimal router in Lua {}. Pointsman against the \
             minimal router: {}.",
            listed(&by_start(1)),
            listed(&by_start(2)),
            listed(&by_start(3)),
            listed(&over(1, 3))
        ),
    ];
    notes.extend(measure::failures(all));
    if !skipped.is_empty() {
        notes.push(format!(
            "Skipped, as not installed: {}.",
            skipped.join(", ")
        ));
    }
    Ok(Section {
        title: "Cost of a request".to_owned(),
        text: vec![format!(
            "One worker (nginx, HAProxy) or one Go thread (Caddy, Traefik) on a core of its own; \
             {INSTANCES} instances behind, a small answer, connections kept on both sides; \
             {} connections that ask again when they are answered; {} starts, {starts_of_all} of \
             them of all and the others of nginx without and with Lua, {rounds} rounds each, in \
             which each has {} turns of {} s, interleaved. Pointsman has all on: request headers, \
             request id, metrics, retries, passive health. Plain nginx has the same proxy directives, read from the shipped include, and \
             a static upstream with a keepalive pool of {}. Latencies are those of a proxy that is \
             as busy as it can be.",
            round.connections,
            starts.len(),
            round.turns,
            round.time.as_secs_f64(),
            nginx::KEEPALIVE
        )],
        aims: vec![Aim {
            what:
                "CPU a request on a hit, everything on, against the minimal router, median of the starts"
                    .to_owned(),
            aim: format!("≤ {AIM:.2} ×"),
            measured: format!("{} ×", ratio.show(3)),
            reached: ratio.median <= AIM,
        }],
        tables: vec![measure::table("One core, the same upstream", all)],
        charts: vec![Chart {
            file: "cost".to_owned(),
            title: "CPU time of the proxy for each request".to_owned(),
            unit: "µs".to_owned(),
            places: all.iter().map(|one| one.name.clone()).collect(),
            lines: vec![Line {
                name: "CPU".to_owned(),
                points: all
                    .iter()
                    .map(|one| one.spread(|sample| sample.cpu))
                    .map(|spread| [spread.min, spread.median, spread.max])
                    .collect(),
            }],
        }],
        notes,
        raw: serde_json::to_value(all).context("failed to keep the runs")?,
        ..Section::default()
    })
}
