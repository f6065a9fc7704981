//! What a request costs when more and more hosts are bound to the same
//! instances, and how long a worker pauses then.

mod gc;
mod report;

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::context::{Context, Size};
use crate::cpu;
use crate::fill;
use crate::load::{self, Hosts, Load, Outcome, Until};
use crate::measure::{self, Candidate, Round, Series};
use crate::nginx::{self, Edge, EdgeOptions};
use crate::proxy::Proxy;
use crate::report::Section;
use crate::stack::Stack;

use report::Facts;

const APP: &str = "shop";
const INSTANCES: usize = 4;
const CONNECTIONS: usize = 32;
/// Of Zipf's law: host n is asked for in proportion to 1 / n.
const EXPONENT: f64 = 1.0;
const PATIENCE: Duration = Duration::from_secs(300);

/// The name of a host.
fn name(number: u64, out: &mut String) {
    // Writing into a string does not fail.
    let _written = write!(out, "h{number}.shop.example");
}

/// An edge, and how many hosts it is asked for.
struct Subject {
    name: String,
    hosts: u64,
    /// So many of them once, before all else.
    first: u64,
    edge: Edge,
}

/// What an edge did when it was asked for each of its hosts for the first time.
struct Sweep {
    name: String,
    hosts: u64,
    cpu: f64,
    outcome: Outcome,
    heap: f64,
    resident: u64,
}

/// All that was measured.
struct Measured {
    rounds: usize,
    round: Round,
    paced: Round,
    /// Of each number of hosts.
    sizes: Vec<u64>,
    /// Plain nginx and Pointsman at each size, and Pointsman's caches too small.
    saturated: Vec<Series>,
    /// Plain nginx, and Pointsman with one host and with all.
    pauses: Vec<Series>,
    sweeps: Vec<Sweep>,
    collections: Vec<(u64, gc::Cycles)>,
    filling: Filling,
    /// Of each edge: what the rounds counted, and what there was in all.
    facts: Vec<(Facts, Facts)>,
}

/// How long the table took on its way, in seconds.
struct Filling {
    etcd: f64,
    redis: f64,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let sizes = ctx.size.pick(
        vec![1, 300],
        vec![1, 1_000, 100_000],
        vec![1, 1_000, 100_000, 1_000_000],
    );
    let all = *sizes.last().context("no size")?;
    let servers = nginx::app_addrs(INSTANCES)?;
    let apps = nginx::apps(ctx, &servers).await?;
    let stack = Stack::start(ctx).await?;
    let filling = fill_table(ctx, &stack, all, &servers).await?;
    let plain = nginx::plain(ctx, &servers, nginx::KEEPALIVE).await?;

    let mut subjects = Vec::new();
    for &hosts in &sizes {
        let name = format!("Pointsman, {}", report::count(hosts));
        subjects.push(start_edge(ctx, &stack, name, hosts, &EdgeOptions::default()).await?);
    }
    let small = usize::try_from(all / 16)?.max(256);
    let mut options = EdgeOptions {
        max_hosts: Some(small),
        ..EdgeOptions::default()
    };
    let name = format!("… its worker keeping {}", report::count(small as u64));
    subjects.push(start_edge(ctx, &stack, name, all, &options).await?);
    // An eighth of what the routes take.
    options.routes_dict = Some(format!("{}k", (all * 128 / 8 / 1024).max(64)));
    let name = "… and a shared dict that is full".to_owned();
    subjects.push(start_edge(ctx, &stack, name, all, &options).await?);

    // Caches that are too small are full long before.
    for subject in &mut subjects[sizes.len()..] {
        subject.first = all / 4;
    }
    let mut sweeps = Vec::new();
    for subject in &subjects {
        let swept = sweep(ctx, subject).await?;
        ctx.say(&format!(
            "{}: asked for {} for the first time in {:.1} s",
            subject.name,
            report::count(subject.first),
            swept.outcome.seconds
        ));
        sweeps.push(swept);
    }

    let rounds = ctx.size.pick(1, 5, 30);
    let round = Round {
        connections: CONNECTIONS,
        turns: ctx.size.pick(1, 4, 4),
        time: Duration::from_millis(ctx.size.pick(200, 250, 250)),
        rate: None,
    };
    let before = status_of(&subjects).await?;
    let saturated = saturate(ctx, &plain, &sizes, &subjects, rounds, round).await?;
    let after = status_of(&subjects).await?;
    let facts = after
        .iter()
        .zip(before)
        .map(|(after, before)| (after.since(before), *after))
        .collect::<Vec<_>>();
    ctx.say("the load is taken back, to look for pauses");
    let paced = Round {
        connections: CONNECTIONS,
        turns: 1,
        time: Duration::from_millis(ctx.size.pick(200, 2000, 5000)),
        rate: Some(ctx.size.pick(1000.0, 4000.0, 4000.0)),
    };
    let pauses = pace(ctx, &plain, &sizes, &subjects, rounds.min(9), paced).await?;
    let mut collections = Vec::new();
    for (subject, &hosts) in subjects.iter().zip(&sizes) {
        let cycles = gc::look(subject.edge.status, ctx.size.pick(1, 3, 5)).await?;
        collections.push((hosts, cycles));
    }
    ensure!(
        ctx.size == Size::Tiny || facts.last().is_some_and(|(_, full)| full.evicted > 0.0),
        "the dict that should be full never evicted"
    );

    for subject in subjects {
        subject.edge.proxy.stop().await;
    }
    plain.stop().await;
    stack.stop().await;
    apps.stop().await;
    report::section(&Measured {
        rounds,
        round,
        paced,
        sizes,
        saturated,
        pauses,
        sweeps,
        collections,
        filling,
        facts,
    })
}

/// Binds all hosts, and waits until the agent has them in Redis.
async fn fill_table(
    ctx: &Context,
    stack: &Stack,
    hosts: u64,
    servers: &[std::net::SocketAddr],
) -> Result<Filling> {
    let instances = servers
        .iter()
        .enumerate()
        .map(|(number, addr)| fill::instance(APP, &format!("{APP}-{number}"), *addr));
    let routes = (0..hosts).map(|number| {
        let mut host = String::new();
        name(number, &mut host);
        fill::route(&host, APP)
    });
    let begin = ctx.elapsed();
    let revision = fill::put_all(&stack.etcd.url(), instances.chain(routes)).await;
    let written = ctx.elapsed();
    stack.has_synced(revision, PATIENCE).await?;
    let synced = ctx.elapsed();
    ctx.say(&format!("{hosts} hosts are bound"));
    Ok(Filling {
        etcd: (written - begin).as_secs_f64(),
        redis: (synced - begin).as_secs_f64(),
    })
}

async fn start_edge(
    ctx: &Context,
    stack: &Stack,
    name: String,
    hosts: u64,
    options: &EdgeOptions,
) -> Result<Subject> {
    let mut options = options.clone();
    options.status_lines = gc::location();
    let mut first = String::new();
    self::name(0, &mut first);
    let edge = nginx::edge(ctx, &stack.redis.url(), &first, &options).await?;
    Ok(Subject {
        name,
        hosts,
        first: hosts,
        edge,
    })
}

/// Asks for hosts for the first time: the caches fill, and the heap grows.
async fn sweep(ctx: &Context, subject: &Subject) -> Result<Sweep> {
    let proxy = &subject.edge.proxy;
    let load = Load {
        target: proxy.addr,
        connections: CONNECTIONS,
        hosts: Hosts::each(subject.first, name),
        until: Until::Requests(subject.first),
        rate: None,
        cores: ctx.cores.load.clone(),
        first: false,
        seed: 0,
    };
    let before = proxy.spent()?;
    let outcome = load.run().await?.with_few_failures()?;
    let spent = (proxy.spent()? - before).as_secs_f64();
    Ok(Sweep {
        name: subject.name.clone(),
        hosts: subject.first,
        cpu: spent * 1e6 / outcome.good as f64,
        outcome,
        heap: gc::heap(subject.edge.status).await?,
        resident: cpu::resident(&proxy.pids()[1..])?,
    })
}

async fn status_of(subjects: &[Subject]) -> Result<Vec<Facts>> {
    let mut all = Vec::new();
    for subject in subjects {
        all.push(report::status(subject.edge.status).await?);
    }
    Ok(all)
}

fn zipf(hosts: u64) -> Result<Hosts> {
    load::zipf(hosts, EXPONENT, name)
}

/// Plain nginx, which knows no hosts, is asked for the same ones.
async fn saturate(
    ctx: &Context,
    plain: &Proxy,
    sizes: &[u64],
    subjects: &[Subject],
    rounds: usize,
    round: Round,
) -> Result<Vec<Series>> {
    let mut candidates = Vec::new();
    for &hosts in sizes {
        let name = format!("plain nginx, {}", report::count(hosts));
        candidates.push(Candidate::new(name, plain, &zipf(hosts)?));
    }
    for subject in subjects {
        let hosts = zipf(subject.hosts)?;
        candidates.push(Candidate::new(&subject.name, &subject.edge.proxy, &hosts));
    }
    measure::rounds(ctx, &candidates, rounds, round).await
}

/// At a fixed rate, plain nginx and Pointsman with the smallest and the largest
/// number of hosts.
async fn pace(
    ctx: &Context,
    plain: &Proxy,
    sizes: &[u64],
    subjects: &[Subject],
    rounds: usize,
    round: Round,
) -> Result<Vec<Series>> {
    let largest = sizes.len() - 1;
    let all = zipf(sizes[largest])?;
    let mut candidates = vec![Candidate::new("plain nginx", plain, &all)];
    for at in [0, largest] {
        let subject = &subjects[at];
        let hosts = zipf(subject.hosts)?;
        candidates.push(Candidate::new(&subject.name, &subject.edge.proxy, &hosts));
    }
    measure::rounds(ctx, &candidates, rounds, round).await
}
