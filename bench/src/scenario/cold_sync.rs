//! How long an empty Redis takes to be filled from etcd, beside the bare copy of
//! the same records, and what that does to requests and to etcd meanwhile.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pointsman_harness::ports;
use pointsman_harness::services::{AgentConfig, AgentProcess, RedisConfig, RedisProcess, Service};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

use crate::background::{self, Meanwhile, meanwhile};
use crate::bare;
use crate::context::Context;
use crate::cpu::{self, Preference};
use crate::fill;
use crate::load::{Hosts, Load};
use crate::nginx::{self, EdgeOptions};
use crate::redis_facts::RedisFacts;
use crate::registry::Shape;
use crate::report::{Aim, Section, Table};
use crate::stack::{self, Stack};
use crate::stats::{self, Spread};

const APP: &str = "live";
const LIVE_HOSTS: usize = 100;
const RATE: f64 = 2000.0;
const GLANCE: Duration = Duration::from_millis(5);
const GRACE: Duration = Duration::from_secs(8);
const PATIENCE: Duration = Duration::from_secs(180);
/// For how long requests are still looked at after a resync: each host is asked
/// for several times in it.
const AFTERMATH: Duration = Duration::from_millis(500);
/// For so long, and a little longer, an edge does not say that it has applied
/// what it doubts. Before that it is not asked: each look at its status takes it
/// half a millisecond, in which requests wait.
const HELD_BACK: Duration = Duration::from_millis(650);
const AIM: f64 = 1.3;
const P99_AIM: f64 = 1.2;

/// One agent on an empty Redis, and the bare copy beside it, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Round {
    agent: f64,
    bare: f64,
    bare_list: f64,
    bare_write: f64,
}

/// Requests and the bare watch while nothing else happens, and while it does.
#[derive(Clone, Debug, Serialize)]
struct Disturbed {
    idle: Meanwhile,
    sync: Meanwhile,
    copy: Meanwhile,
}

/// What a scenario of this kind works on.
struct Rig<'a> {
    ctx: &'a Context,
    stack: Stack,
    facts: RedisFacts,
    /// Where the bare copy goes.
    bare_redis: RedisProcess,
    bare_facts: RedisFacts,
    revision: i64,
    records: usize,
}

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let shape = ctx.size.pick(
        Shape {
            routes: 2000,
            apps: 100,
            each: 2,
        },
        Shape {
            routes: 100_000,
            apps: 1000,
            each: 10,
        },
        Shape {
            routes: 1_000_000,
            apps: 10_000,
            each: 10,
        },
    );
    let servers = nginx::app_addrs(4)?;
    let apps = nginx::apps(ctx, &servers).await?;
    background::pin_to_edge_side(ctx, &apps)?;
    let preference = cpu::go_first(apps.pids()[0])?;
    let mut rig = Rig::start(ctx, shape, &servers).await?;

    let mut rounds = Vec::new();
    for number in 0..ctx.size.pick(1, 3, 5) {
        rounds.push(rig.round(number % 2 == 1).await?);
        ctx.say(&format!("{:?}", rounds.last()));
    }
    let follow = rig.restart(&[]).await?;
    let (disturbed, reconciled) = Box::pin(rig.disturb()).await?;
    rig.stack.stop().await;
    rig.bare_redis.process().stop(GRACE).await;
    apps.stop().await;
    let loads = Loads {
        preference,
        disturbed,
        reconciled,
    };
    Ok(section(shape, &rounds, follow, &loads))
}

fn live_host(number: u64, out: &mut String) {
    use std::fmt::Write as _;
    // Writing into a string does not fail.
    let _written = write!(out, "live-{number}.example");
}

impl<'a> Rig<'a> {
    async fn start(
        ctx: &'a Context,
        shape: Shape,
        servers: &[std::net::SocketAddr],
    ) -> Result<Self> {
        let mut stack = Stack::start(ctx).await?;
        let dir = ctx.folder("bare-redis")?;
        let mut bare_redis = RedisProcess::spawn(
            &ctx.launcher,
            &RedisConfig {
                listen: ports::free_loopback(),
                data_dir: dir.join("data"),
                log_dir: dir.join("logs"),
            },
        )?;
        bare_redis.ready().await?;
        cpu::pin(bare_redis.process().pid(), &ctx.cores.others)?;

        let mut live: Vec<_> = (0..LIVE_HOSTS as u64)
            .map(|number| {
                let mut host = String::new();
                live_host(number, &mut host);
                fill::route(&host, APP)
            })
            .collect();
        for (number, addr) in servers.iter().enumerate() {
            live.push(fill::instance(APP, &format!("{APP}-{number}"), *addr));
        }
        let records = live.len() + shape.routes + shape.instances();
        let entries = shape.entries().chain(live);
        let revision = fill::put_all(&stack.etcd.url(), entries).await;
        stack.has_synced(revision, PATIENCE).await?;
        stack.agent.process().stop(GRACE).await;
        Ok(Self {
            ctx,
            facts: RedisFacts::connect(&stack.redis.url()).await?,
            bare_facts: RedisFacts::connect(&bare_redis.url()).await?,
            stack,
            bare_redis,
            revision,
            records,
        })
    }

    /// One after the other, each with all cores of the machine.
    async fn round(&mut self, agent_first: bool) -> Result<Round> {
        let cores = cpu::all(&self.ctx.cores);
        for pid in [
            self.stack.etcd.process().pid(),
            self.stack.redis.process().pid(),
            self.bare_redis.process().pid(),
        ] {
            cpu::pin(pid, &cores)?;
        }
        let mut agent = 0.0;
        if agent_first {
            agent = self.sync().await?;
        }
        self.bare_facts.flush().await?;
        let begin = Instant::now();
        let copied = bare::copy(&self.stack.etcd.url(), &self.bare_redis.url()).await?;
        let bare = begin.elapsed().as_secs_f64();
        ensure!(
            copied.records == self.records,
            "the bare copy has {} records of {}",
            copied.records,
            self.records
        );
        if !agent_first {
            agent = self.sync().await?;
        }
        // Besides the records there are `meta`, `heard` and the stream.
        let (ours, theirs) = (self.facts.size().await?, self.bare_facts.size().await?);
        ensure!(
            ours == theirs + 3,
            "{ours} keys, the bare copy has {theirs}"
        );
        Ok(Round {
            agent,
            bare,
            bare_list: copied.list,
            bare_write: copied.write,
        })
    }

    /// Seconds from the start of an agent until Redis, which was empty, has all.
    async fn sync(&mut self) -> Result<f64> {
        self.facts.flush().await?;
        let seconds = self.restart(&[]).await?;
        self.stack.agent.process().stop(GRACE).await;
        Ok(seconds)
    }

    /// Starts an agent in place of the last one; answers after how many seconds
    /// it was ready.
    async fn restart(&mut self, more_args: &[&str]) -> Result<f64> {
        self.stack.agent.process().stop(GRACE).await;
        let config = AgentConfig {
            id: "agent".to_owned(),
            admin: ports::free_loopback(),
            etcd_url: self.stack.etcd.url(),
            redis_url: self.stack.redis.url(),
            more_args: more_args.iter().map(Into::into).collect(),
            log_dir: self.ctx.folder("agent")?.join("logs"),
        };
        let begin = Instant::now();
        self.stack.agent = AgentProcess::spawn(&self.ctx.launcher, &config)?;
        self.stack.agent.ready().await?;
        self.refilled().await?;
        Ok(begin.elapsed().as_secs_f64())
    }

    async fn refilled(&mut self) -> Result<()> {
        let begin = Instant::now();
        while self.facts.revision().await? < Some(self.revision) {
            ensure!(begin.elapsed() < PATIENCE, "Redis was not filled again");
            sleep(GLANCE).await;
        }
        Ok(())
    }

    /// The same under load: the edge's side of the machine for itself. And a
    /// pass of the reconciler, which finds nothing.
    async fn disturb(&mut self) -> Result<(Vec<Disturbed>, Reconciled)> {
        let ctx = self.ctx;
        let url = self.stack.etcd.url();
        self.pin_apart()?;
        let host = "live-0.example";
        let edge = nginx::edge(ctx, &self.stack.redis.url(), host, &EdgeOptions::default()).await?;
        stack::has_applied(edge.status, self.revision, PATIENCE).await?;
        let hosts = Hosts::each(LIVE_HOSTS as u64, live_host);
        let load = Load {
            first: true,
            ..background::steady(ctx, &edge, &hosts, RATE)
        };
        let time = Duration::from_millis(ctx.size.pick(300, 3000, 8000));
        meanwhile(&load, &url, idle(time)).await?;

        let mut all = Vec::new();
        for _ in 0..ctx.size.pick(1, 3, 5) {
            let ((), idle) = meanwhile(&load, &url, idle(time)).await?;
            let again = async {
                self.facts.lose_all().await?;
                sleep(GLANCE).await;
                self.refilled().await?;
                sleep(HELD_BACK).await;
                stack::has_applied(edge.status, self.revision, PATIENCE).await?;
                sleep(AFTERMATH).await;
                Ok(())
            };
            let ((), sync) = meanwhile(&load, &url, again).await?;
            self.bare_facts.flush().await?;
            let target = self.bare_redis.url();
            let (_, copy) = meanwhile(&load, &url, Box::pin(bare::copy(&url, &target))).await?;
            all.push(Disturbed { idle, sync, copy });
        }
        let reconciled = self.reconcile(&load, &url).await?;
        edge.proxy.stop().await;
        Ok((all, reconciled))
    }

    /// The bare copy and the bare watch run in this process: it goes with etcd.
    fn pin_apart(&mut self) -> Result<()> {
        cpu::pin_own(&self.ctx.cores.others)?;
        for pid in [
            self.stack.etcd.process().pid(),
            self.stack.redis.process().pid(),
            self.stack.agent.process().pid(),
            self.bare_redis.process().pid(),
        ] {
            cpu::pin(pid, &self.ctx.cores.others)?;
        }
        Ok(())
    }

    async fn reconcile(&mut self, load: &Load, url: &str) -> Result<Reconciled> {
        let debug = "info,pointsman_publish=debug";
        self.restart(&["--reconcile", "1s", "--log-level", debug])
            .await?;
        self.pin_apart()?;
        let log = self.stack.agent.process().log().to_owned();
        let pass = async {
            let begin = Instant::now();
            loop {
                let text = std::fs::read_to_string(&log)?;
                let line = text.lines().rfind(|line| line.contains("reconciled"));
                if let Some((_, took)) = line.and_then(|line| line.split_once("took=")) {
                    let took = took.split_whitespace().next().unwrap_or_default();
                    return Ok(seconds(took));
                }
                ensure!(begin.elapsed() < PATIENCE, "no pass came to its end");
                sleep(Duration::from_millis(100)).await;
            }
        };
        let (seconds, meanwhile) = meanwhile(load, url, pass).await?;
        Ok(Reconciled { seconds, meanwhile })
    }
}

/// All that was done under load.
#[derive(Serialize)]
struct Loads {
    /// How apps and load came before the edge.
    preference: Preference,
    disturbed: Vec<Disturbed>,
    reconciled: Reconciled,
}

/// A pass of the reconciler.
#[derive(Clone, Debug, Serialize)]
struct Reconciled {
    seconds: f64,
    meanwhile: Meanwhile,
}

/// A duration as logs have it: `1.234567s`, `12.3ms`.
fn seconds(text: &str) -> f64 {
    let (number, unit) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1e-3)
    } else if let Some(number) = text.strip_suffix("µs") {
        (number, 1e-6)
    } else {
        (text.trim_end_matches('s'), 1.0)
    };
    number.parse::<f64>().unwrap_or_default() * unit
}

async fn idle(time: Duration) -> Result<()> {
    sleep(time).await;
    Ok(())
}

fn section(shape: Shape, rounds: &[Round], follow: f64, loads: &Loads) -> Section {
    let (disturbed, reconciled) = (&loads.disturbed, &loads.reconciled);
    let of = |get: fn(&Round) -> f64| rounds.iter().map(get).collect::<Vec<_>>();
    let (agent, bare) = (of(|r| r.agent), of(|r| r.bare));
    let ratio = stats::paired(&agent, &bare);
    let mut times = Table::new(
        "From etcd into an empty Redis",
        &["", "seconds", "× the bare copy"],
    );
    for (name, values) in [
        ("bare copy", &bare),
        ("… of it listing etcd", &of(|r| r.bare_list)),
        ("… of it writing to Redis", &of(|r| r.bare_write)),
        ("agent, from its start", &agent),
    ] {
        times.row(vec![
            name.to_owned(),
            Spread::of(values).show(2),
            stats::paired(values, &bare).show(2),
        ]);
    }
    times.row(vec![
        "agent started beside a full Redis".to_owned(),
        format!("{follow:.2}"),
        String::new(),
    ]);

    let series = |of: fn(&Disturbed) -> &Meanwhile, get: fn(&Meanwhile) -> f64| {
        disturbed.iter().map(|one| get(of(one))).collect::<Vec<_>>()
    };
    let p99 = |m: &Meanwhile| m.requests.p99 / 1e3;
    let p99_ratio = stats::paired(&series(|d| &d.sync, p99), &series(|d| &d.idle, p99));
    let mut under = Table::new(
        "Meanwhile",
        &[
            "",
            "requests p50 ms",
            "p99 ms",
            "p99 × idle",
            "worst ms",
            "failed",
            "etcd put → watch p50 ms",
            "p99 ms",
        ],
    );
    let mut rows: Vec<(&str, Vec<&Meanwhile>)> = vec![
        ("nothing", disturbed.iter().map(|d| &d.idle).collect()),
        (
            "Redis emptied, agent fills it",
            disturbed.iter().map(|d| &d.sync).collect(),
        ),
        ("bare copy", disturbed.iter().map(|d| &d.copy).collect()),
    ];
    rows.push(("reconcile that finds nothing", vec![&reconciled.meanwhile]));
    let idle_p99 = Spread::of(&series(|d| &d.idle, p99)).median;
    for (name, all) in &rows {
        let spread = |get: fn(&Meanwhile) -> f64| {
            Spread::of(&all.iter().map(|m| get(m)).collect::<Vec<_>>())
        };
        let failed: u64 = all.iter().map(|m| m.requests.failed).sum();
        under.row(vec![
            (*name).to_owned(),
            spread(|m| m.requests.p50 / 1e3).show(2),
            spread(p99).show(2),
            format!("{:.2}", spread(p99).median / idle_p99),
            format!("{:.1}", spread(|m| m.requests.max / 1e3).max),
            failed.to_string(),
            spread(|m| m.watch_p50).show(2),
            spread(|m| m.watch_p99).show(2),
        ]);
    }
    Section {
        title: "Cold sync".to_owned(),
        text: vec![format!(
            "{} routes and {} instances of {} apps, from etcd into an empty Redis: by an agent that \
             is started for it, and by a bare copy, which lists etcd in pages of 100,000 and writes \
             the same records in pipelines of 500 plain commands; in turns, both with all cores. \
             Then under {RATE:.0} requests a second for {LIVE_HOSTS} cached hosts: edge, apps and \
             load have a core for themselves{}; etcd, Redis, the agent, the bare copy and the bare \
             watch have the rest. Redis is emptied under the agent's feet; requests count until \
             the edge has asked for all its hosts anew. A reconcile is one pass over all keys and records, at the \
             pace that it always has.",
            shape.routes,
            shape.instances(),
            shape.apps,
            background::on_preference(loads.preference),
        )],
        aims: vec![
            Aim {
                what: format!("cold sync of {} routes", shape.routes),
                aim: format!("≤ {AIM} × the bare copy"),
                measured: format!("{} ×", ratio.show(2)),
                reached: ratio.median <= AIM,
            },
            Aim {
                what: "p99 of requests during a resync".to_owned(),
                aim: format!("≤ {P99_AIM} × idle"),
                measured: format!("{} ×", p99_ratio.show(2)),
                reached: p99_ratio.median <= P99_AIM,
            },
        ],
        tables: vec![times, under],
        notes: vec![format!("The reconcile took {:.1} s.", reconciled.seconds)],
        raw: json!({
            "rounds": rounds,
            "follow": follow,
            "loads": loads,
        }),
        ..Section::default()
    }
}
