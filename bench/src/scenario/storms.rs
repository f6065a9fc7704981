//! How many changes a second agent and edge keep up with, and what requests
//! notice of them.

mod report;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etcd_client::Client;
use pointsman_harness::http;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use crate::background::{self, Background};
use crate::context::Context;
use crate::cpu;
use crate::fill;
use crate::load::{Hosts, Load, Outcome};
use crate::nginx::{self, Edge, EdgeOptions};
use crate::redis_facts::RedisFacts;
use crate::registry::{self, Shape};
use crate::report::Section;
use crate::stack::{self, Stack};
use crate::stats;

/// Clients that put as fast as they are answered.
const CLIENTS: usize = 16;
/// The app whose hosts are asked for, and which a storm may strike.
const LARGE: &str = "large";
const HOSTS: u64 = 100;
/// So many servers are all of its instances.
const SERVERS: usize = 4;
const RATE: f64 = 1000.0;
/// Puts a second of a rolling deploy, which replaces all instances in 10 s.
const DEPLOY_RATE: u32 = 500;
/// How often the positions of Redis and the edge are looked at, also where
/// nothing changes. A look takes the edge half a millisecond: twenty in a second
/// would be what one request in a hundred waits for.
const GLANCE: Duration = Duration::from_millis(250);
/// How often etcd's is noted, with which they are compared.
const NOTE: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the puts go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Keys that no agent looks at: what etcd alone takes.
    Bare,
    /// Instances of many apps.
    Spread,
    /// Instances of one large app, for which requests come.
    One,
    /// The same, and they have another address each time.
    Moving,
    /// The same at the pace of a rolling deploy.
    Deploy,
}

impl Target {
    /// How long each client waits from one put to the next; none: it does not.
    fn pace(self) -> Option<Duration> {
        (self == Self::Deploy).then(|| Duration::from_secs(1) * CLIENTS as u32 / DEPLOY_RATE)
    }
}

/// One storm.
#[derive(Clone, Debug, Serialize)]
struct Storm {
    name: String,
    /// Puts a second that etcd took.
    rate: f64,
    /// Milliseconds that Redis was behind, in the first and the last third.
    redis_lag: [f64; 2],
    /// Likewise the edge.
    edge_lag: [f64; 2],
    /// Milliseconds from the last put until the edge had all.
    drain: f64,
    /// Bytes a second that Redis sent out.
    bytes: f64,
    requests: Outcome,
}

/// Positions of etcd, at moments since the storm began.
#[derive(Default)]
struct Trail(VecDeque<(Duration, i64)>);

impl Trail {
    /// For how long etcd has been beyond this revision.
    fn lag(&mut self, revision: i64, now: Duration) -> f64 {
        while self.0.front().is_some_and(|(_, put)| *put <= revision) {
            self.0.pop_front();
        }
        let since = self.0.front().map_or(now, |(at, _)| *at);
        (now - since).as_secs_f64() * 1e3
    }
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let shape = ctx.size.pick(
        Shape {
            routes: 100,
            apps: 100,
            each: 5,
        },
        Shape {
            routes: 1000,
            apps: 1000,
            each: 5,
        },
        Shape {
            routes: 1000,
            apps: 1000,
            each: 5,
        },
    );
    let large = ctx.size.pick(200, 5000, 5000);
    let servers = nginx::app_addrs(SERVERS)?;
    let apps = nginx::apps(ctx, &servers).await?;
    background::pin_to_edge_side(ctx, &apps)?;
    let preference = cpu::go_first(apps.pids()[0])?;
    let stack = Stack::start(ctx).await?;
    // Who looks at all that is not to disturb what is measured.
    cpu::pin_own(&ctx.cores.others)?;
    let routes = (0..HOSTS).map(|number| fill::route(&format!("large-{number}.example"), LARGE));
    let instances = (0..large).map(|number| large_instance(number, &servers, 0, 0));
    let entries = apps_entries(shape).chain(routes).chain(instances);
    let revision = fill::put_all(&stack.etcd.url(), entries).await;
    stack.has_synced(revision, PATIENCE).await?;
    let rig = Rig {
        ctx,
        edge: edge(ctx, &stack, revision).await?,
        stack,
        shape,
        large,
        servers,
    };
    let all = rig.storms().await?;
    rig.edge.proxy.stop().await;
    rig.stack.stop().await;
    apps.stop().await;
    Ok(report::section(shape, large, preference, &all))
}

/// Routes and instances of the many apps. Nobody listens there, so that none of
/// them has a weight: what an edge had set aside would be a part of its status,
/// which is looked at all the time.
fn apps_entries(shape: Shape) -> impl Iterator<Item = (String, String)> {
    let instances = shape.entries().skip(shape.routes);
    let instances = instances.map(|(key, addr)| (key, app_instance(&addr, 0)));
    shape.entries().take(shape.routes).chain(instances)
}

fn app_instance(addr: &str, round: u64) -> String {
    let zone = round % 10;
    format!(r#"{{"addr":"{addr}","weight":0,"zone":"z{zone}"}}"#)
}

/// All of them get requests: who follows the round must know each one.
fn large_instance(
    number: usize,
    servers: &[SocketAddr],
    round: u64,
    moved: usize,
) -> (String, String) {
    let addr = servers[(number + moved) % servers.len()];
    let zone = round % 10;
    (
        format!("instances/{LARGE}/{LARGE}-{number:05}"),
        format!(r#"{{"addr":"{addr}","zone":"z{zone}","shared":true}}"#),
    )
}

/// An edge of one worker, which follows the stream beside its requests.
async fn edge(ctx: &Context, stack: &Stack, revision: i64) -> Result<Edge> {
    let options = EdgeOptions::default();
    let edge = nginx::edge(ctx, &stack.redis.url(), "large-0.example", &options).await?;
    stack::has_applied(edge.status, revision, PATIENCE).await?;
    Ok(edge)
}

fn load(ctx: &Context, edge: &Edge) -> Load {
    let hosts = Hosts::each(HOSTS, |number, out| {
        use std::fmt::Write as _;
        // Writing into a string does not fail.
        let _written = write!(out, "large-{number}.example");
    });
    Load {
        first: true,
        ..background::steady(ctx, edge, &hosts, RATE)
    }
}

/// The edge holds all apps, so that each change concerns it.
async fn warm(ctx: &Context, edge: &Edge, shape: Shape) -> Result<()> {
    let mut load = load(ctx, edge);
    load.rate = None;
    load.first = false;
    load.until = crate::load::Until::Requests(HOSTS);
    load.run().await?.with_few_failures()?;
    for number in 0..shape.routes {
        http::get(edge.proxy.addr, &registry::host(number), "/").await?;
    }
    Ok(())
}

struct Rig<'a> {
    ctx: &'a Context,
    stack: Stack,
    edge: Edge,
    shape: Shape,
    /// Instances of the large app.
    large: usize,
    servers: Vec<SocketAddr>,
}

/// What the putting clients have in common.
#[derive(Default)]
struct Puts {
    stop: AtomicBool,
    count: AtomicU64,
    revision: AtomicI64,
}

impl Rig<'_> {
    async fn storms(&self) -> Result<Vec<Storm>> {
        warm(self.ctx, &self.edge, self.shape).await?;
        // What does not count, so that the first ones find all warm: a worker
        // compiles what it runs often.
        for target in [Target::Spread, Target::One, Target::Moving] {
            self.storm("warm-up", Some(target)).await?;
        }
        let mut all = Vec::new();
        for _ in 0..self.ctx.size.pick(1, 1, 5) {
            for (name, target) in [
                ("nothing", None),
                ("etcd alone", Some(Target::Bare)),
                ("a rolling deploy", Some(Target::Deploy)),
                ("spread over many apps", Some(Target::Spread)),
                ("in one app", Some(Target::One)),
                ("in one app, moving", Some(Target::Moving)),
            ] {
                let storm = self.storm(name, target).await?;
                self.ctx.say(&format!("{storm:?}"));
                all.push(storm);
            }
        }
        Ok(all)
    }

    async fn storm(&self, name: &str, target: Option<Target>) -> Result<Storm> {
        let time = Duration::from_millis(self.ctx.size.pick(500, 5000, 10_000));
        let mut facts = RedisFacts::connect(&self.stack.redis.url()).await?;
        let sent = facts.counters().await?.number("total_net_output_bytes")?;
        let background = Background::start(&load(self.ctx, &self.edge));
        let begin = Instant::now();
        let mut storm = Storm {
            name: name.to_owned(),
            rate: 0.0,
            redis_lag: [0.0; 2],
            edge_lag: [0.0; 2],
            drain: 0.0,
            bytes: 0.0,
            requests: Outcome::default(),
        };
        match target {
            None => {
                let idle = Puts::default();
                self.watch(&idle, time, &mut facts).await?;
            }
            Some(target) => self.blow(target, time, &mut facts, &mut storm).await?,
        }
        let seconds = begin.elapsed().as_secs_f64();
        storm.requests = background.finish().await?;
        let now_sent = facts.counters().await?.number("total_net_output_bytes")?;
        storm.bytes = (now_sent - sent) as f64 / seconds;
        Ok(storm)
    }

    /// All clients put for so long, and the positions of Redis and the edge are
    /// watched until both have all.
    async fn blow(
        &self,
        target: Target,
        time: Duration,
        facts: &mut RedisFacts,
        storm: &mut Storm,
    ) -> Result<()> {
        let puts = Arc::new(Puts::default());
        let clients = self.clients(Arc::clone(&puts), self.entries(target), target.pace())?;
        let begin = Instant::now();
        let lags = self.watch(&puts, time, facts).await?;
        puts.stop.store(true, Ordering::Relaxed);
        clients.await.context("the clients' thread died")??;
        storm.rate = puts.count.load(Ordering::Relaxed) as f64 / begin.elapsed().as_secs_f64();
        if target == Target::Bare {
            return Ok(());
        }
        let last = puts.revision.load(Ordering::Relaxed);
        let ended = Instant::now();
        while self.at_edge().await? < last {
            ensure!(ended.elapsed() < PATIENCE, "the edge does not catch up");
            sleep(Duration::from_millis(5)).await;
        }
        storm.drain = ended.elapsed().as_secs_f64() * 1e3;
        let thirds = |at: usize| {
            let third = lags.len().div_ceil(3);
            let median = |looks: &[[f64; 2]]| {
                stats::median(&looks.iter().map(|look| look[at]).collect::<Vec<_>>())
            };
            [median(&lags[..third]), median(&lags[lags.len() - third..])]
        };
        storm.redis_lag = thirds(0);
        storm.edge_lag = thirds(1);
        Ok(())
    }

    /// For how long Redis and the edge are behind, in milliseconds, at each look.
    async fn watch(
        &self,
        puts: &Puts,
        time: Duration,
        facts: &mut RedisFacts,
    ) -> Result<Vec<[f64; 2]>> {
        let begin = Instant::now();
        let mut trails = [Trail::default(), Trail::default()];
        let mut lags = Vec::new();
        let mut next = GLANCE;
        while begin.elapsed() < time {
            sleep(NOTE).await;
            let now = begin.elapsed();
            for trail in &mut trails {
                trail
                    .0
                    .push_back((now, puts.revision.load(Ordering::Relaxed)));
            }
            if now < next {
                continue;
            }
            next = now + GLANCE;
            let [redis, edge] = &mut trails;
            let redis = redis.lag(self.in_redis(facts).await?, begin.elapsed());
            let edge = edge.lag(self.at_edge().await?, begin.elapsed());
            lags.push([redis, edge]);
        }
        Ok(lags)
    }

    /// Starts the clients that put, in a thread on etcd's side: the edge's core
    /// is not theirs.
    fn clients(
        &self,
        puts: Arc<Puts>,
        entries: Vec<Entry>,
        pace: Option<Duration>,
    ) -> Result<oneshot::Receiver<Result<()>>> {
        let (sender, receiver) = oneshot::channel();
        let (url, cores) = (self.stack.etcd.url(), self.ctx.cores.others.clone());
        let work = move || {
            cpu::pin_thread(0, &cores)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let client = Client::connect([url], None).await?;
                let entries = Arc::new(entries);
                let mut clients = JoinSet::new();
                for number in 0..CLIENTS {
                    let (client, puts) = (client.clone(), Arc::clone(&puts));
                    clients.spawn(put_on(client, puts, Arc::clone(&entries), number, pace));
                }
                while let Some(ended) = clients.join_next().await {
                    ended??;
                }
                Ok(())
            })
        };
        std::thread::Builder::new()
            .name("clients".to_owned())
            .spawn(move || {
                // Nobody listens any more if the waiting was broken off.
                let _given_up = sender.send(work());
            })?;
        Ok(receiver)
    }

    async fn in_redis(&self, facts: &mut RedisFacts) -> Result<i64> {
        facts
            .revision()
            .await?
            .context("Redis holds no whole table")
    }

    async fn at_edge(&self) -> Result<i64> {
        let answer = http::get(self.edge.status, "localhost", "/pointsman/status").await?;
        let facts: Value = serde_json::from_str(&answer.text())?;
        facts["applied"].as_i64().context("no revision")
    }

    /// The keys that are put in turns, without the values' part that changes.
    fn entries(&self, target: Target) -> Vec<Entry> {
        match target {
            Target::Bare => (0..self.shape.instances())
                .map(|number| Entry::Bare(format!("/bare/{number}")))
                .collect(),
            Target::Spread => self
                .shape
                .entries()
                .skip(self.shape.routes)
                .map(|(key, addr)| Entry::Instance(format!("/pointsman/{key}"), addr))
                .collect(),
            Target::One | Target::Moving | Target::Deploy => (0..self.large)
                .map(|number| Entry::Large {
                    number,
                    servers: self.servers.clone(),
                    moves: target != Target::One,
                })
                .collect(),
        }
    }
}

enum Entry {
    Bare(String),
    Instance(String, String),
    Large {
        number: usize,
        servers: Vec<SocketAddr>,
        moves: bool,
    },
}

impl Entry {
    /// Each round has another value.
    fn at(&self, round: u64) -> (String, String) {
        match self {
            Self::Bare(key) => (key.clone(), format!("value {round}")),
            Self::Instance(key, addr) => (key.clone(), app_instance(addr, round)),
            Self::Large {
                number,
                servers,
                moves,
            } => {
                let moved = if *moves { round as usize } else { 0 };
                let (key, value) = large_instance(*number, servers, round, moved);
                (format!("/pointsman/{key}"), value)
            }
        }
    }
}

async fn put_on(
    client: Client,
    puts: Arc<Puts>,
    entries: Arc<Vec<Entry>>,
    first: usize,
    pace: Option<Duration>,
) -> Result<()> {
    let mut kv = client.kv_client();
    let mut number = first;
    let mut turns = pace.map(interval);
    while !puts.stop.load(Ordering::Relaxed) {
        if let Some(turns) = &mut turns {
            turns.tick().await;
        }
        let round = 1 + (number / entries.len()) as u64;
        let (key, value) = entries[number % entries.len()].at(round);
        let done = kv.put(key, value, None).await?;
        let revision = done.header().context("no header")?.revision();
        puts.revision.fetch_max(revision, Ordering::Relaxed);
        puts.count.fetch_add(1, Ordering::Relaxed);
        number += CLIENTS;
    }
    Ok(())
}
