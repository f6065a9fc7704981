//! A thousand edges that report, as far as an agent can tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;
use pointsman_harness::registry::Registry;
use pointsman_harness::services::Service as _;
use pointsman_harness::wait;
use redis::aio::MultiplexedConnection;
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep};

use crate::context::Context;
use crate::cpu;
use crate::registry::nowhere;
use crate::stack::Stack;
use crate::stats::Spread;

/// How often an edge reports when nothing changes, and how long its report holds.
const EVERY: Duration = Duration::from_secs(2);
const LIFE_MS: u64 = 10_000;
/// Within this time all edges have applied a change.
pub(super) const CHANGE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(120);

/// What the agent spent in each round.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Costs {
    /// CPU time in percent of a core.
    pub percent: Vec<f64>,
    /// Reports a second.
    pub reports: Vec<f64>,
}

/// All of it.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Crowd {
    pub edges: usize,
    /// How long a round is.
    pub seconds: u64,
    /// Before any edge reported.
    pub alone: Costs,
    pub resting: Costs,
    /// With a change each second.
    pub changing: Costs,
}

impl Costs {
    pub(super) fn spread(&self) -> Spread {
        Spread::of(&self.percent)
    }
}

/// What all writers of reports share.
#[derive(Clone)]
struct Reporters {
    edges: usize,
    epoch: String,
    redis: MultiplexedConnection,
    applied: Arc<AtomicI64>,
    seq: Arc<AtomicU64>,
}

impl Reporters {
    /// One report, as `lua/pointsman/redis/report.lua` writes it.
    async fn report(&mut self, number: usize) -> Result<()> {
        let (name, key) = (name(number), format!("pointsman:edge:{}", name(number)));
        let seq = self.seq.fetch_add(1, Ordering::Relaxed);
        let fields = [
            ("epoch", self.epoch.clone()),
            ("applied", self.applied.load(Ordering::Relaxed).to_string()),
            ("version", "0.1.0".to_owned()),
            ("started", "1764547200".to_owned()),
            ("workers", "8".to_owned()),
            (
                "status",
                format!("http://{name}.internal:8082/pointsman/status"),
            ),
            (
                "draining",
                r#"{"shop/shop-3":2,"shop/shop-4":0}"#.to_owned(),
            ),
            ("seq", seq.to_string()),
            ("id", "0f343b0931126a20f133d67c2b018a3b".to_owned()),
        ];
        let mut pipeline = redis::pipe();
        pipeline
            .hget(&key, "id")
            .hset_multiple(&key, &fields)
            .cmd("PEXPIRE")
            .arg(&key)
            .arg(LIFE_MS)
            .publish("pointsman:edges", name);
        let () = pipeline.query_async(&mut self.redis).await?;
        Ok(())
    }

    /// Each edge every 2 s, spread evenly, until this is aborted.
    fn at_rest(&self) -> JoinHandle<Result<()>> {
        let mut own = self.clone();
        tokio::spawn(async move {
            let mut turns = interval(EVERY / u32::try_from(own.edges)?);
            for number in 0.. {
                turns.tick().await;
                own.report(number % own.edges).await?;
            }
            Ok(())
        })
    }

    /// A change each second, which each edge reports soon, until this is aborted.
    fn changing(&self, registry: Registry) -> JoinHandle<Result<()>> {
        let mut own = self.clone();
        tokio::spawn(async move {
            let mut changes = interval(Duration::from_secs(1));
            for change in 0.. {
                changes.tick().await;
                let revision = registry.put_instance("shop", "1", nowhere(change)).await;
                own.applied.store(revision, Ordering::Relaxed);
                let mut turns = interval(CHANGE / u32::try_from(own.edges)?);
                for number in 0..own.edges {
                    turns.tick().await;
                    own.report(number).await?;
                }
            }
            Ok(())
        })
    }
}

fn name(number: usize) -> String {
    format!("edge-{number:04}")
}

/// Measures it.
pub(super) async fn run(ctx: &Context) -> Result<Crowd> {
    let mut stack = Stack::start(ctx).await?;
    let registry = Registry::connect(&stack.etcd.url()).await;
    let mut crowd = Crowd {
        edges: ctx.size.pick(20, 1000, 1000),
        seconds: ctx.size.pick(1, 10, 20),
        ..Crowd::default()
    };
    let rounds = ctx.size.pick(1, 3, 5);
    let revision = registry.put_instance("shop", "1", nowhere(0)).await;
    stack.has_synced(revision, PATIENCE).await?;
    let mut redis = redis::Client::open(stack.redis.url())?
        .get_multiplexed_async_connection()
        .await?;
    let mut epoch = redis::cmd("HGET");
    epoch.arg("pointsman:meta").arg("epoch");
    let reporters = Reporters {
        edges: crowd.edges,
        epoch: epoch.query_async(&mut redis).await?,
        redis,
        applied: Arc::new(AtomicI64::new(revision)),
        // A later run of an edge goes on counting.
        seq: Arc::new(AtomicU64::new(
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)?
                .as_secs()
                * 1000,
        )),
    };
    for _ in 0..rounds {
        measure(&mut stack, &reporters, crowd.seconds, &mut crowd.alone).await?;
    }
    let resting = reporters.at_rest();
    // The agent notes each edge in etcd, once; that moves the revision, too.
    let revision = wait::until("the agent has noted all edges", PATIENCE, async || {
        let (revision, keys) = registry.everything().await;
        let noted = keys.iter().filter(|kv| kv.key.starts_with("edges/"));
        match noted.count() {
            count if count == crowd.edges => Ok(revision),
            count => Err(count.to_string()),
        }
    });
    reporters.applied.store(revision.await?, Ordering::Relaxed);
    stack.edges_live(crowd.edges, PATIENCE).await?;
    for _ in 0..rounds {
        measure(&mut stack, &reporters, crowd.seconds, &mut crowd.resting).await?;
        let changing = reporters.changing(Registry::connect(&stack.etcd.url()).await);
        measure(&mut stack, &reporters, crowd.seconds, &mut crowd.changing).await?;
        anyhow::ensure!(!changing.is_finished(), "changes: {:?}", changing.await);
        changing.abort();
        stack.edges_live(crowd.edges, PATIENCE).await?;
    }
    anyhow::ensure!(!resting.is_finished(), "reports: {:?}", resting.await);
    resting.abort();
    stack.stop().await;
    ctx.say(&format!("{} edges", crowd.edges));
    Ok(crowd)
}

async fn measure(
    stack: &mut Stack,
    reporters: &Reporters,
    seconds: u64,
    costs: &mut Costs,
) -> Result<()> {
    let pids = cpu::tree(stack.agent.process().pid())?;
    let (begin, spent) = (Instant::now(), cpu::spent(&pids)?);
    let reports = reporters.seq.load(Ordering::Relaxed);
    sleep(Duration::from_secs(seconds)).await;
    let spent = cpu::spent(&pids)? - spent;
    let reports = reporters.seq.load(Ordering::Relaxed) - reports;
    let seconds = begin.elapsed().as_secs_f64();
    costs.percent.push(100.0 * spent.as_secs_f64() / seconds);
    costs.reports.push(reports as f64 / seconds);
    Ok(())
}
