//! How soon after the last edge a wait is answered.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use pointsman_harness::http::Connection;
use pointsman_harness::registry::Registry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

use super::super::propagation::WORKER_LOCATION;
use super::super::propagation::poller::Poller;
use crate::context::Context;
use crate::cpu;
use crate::fill;
use crate::nginx::{self, EdgeOptions};
use crate::stack::{self, Stack};

const HOST: &str = "bench.example";
const APP: &str = "bench";
pub(super) const WORKERS: usize = 2;
/// Between changes, at least and at most: reports are up to 20 ms apart.
const SPACING: std::ops::Range<u64> = 40..80;
const WARM_UP: usize = 10;
const PATIENCE: Duration = Duration::from_secs(60);

/// Times in milliseconds, one for each change.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Waits {
    /// From etcd's answer until the last worker of both edges shows it.
    pub applied: Vec<f64>,
    /// From etcd's answer to that of the wait.
    pub answered: Vec<f64>,
    /// From the last worker to the answer of the wait.
    pub behind: Vec<f64>,
}

/// Measures them.
pub(super) async fn run(ctx: &Context) -> Result<Waits> {
    let cores = cpu::all(&ctx.cores);
    let servers = nginx::app_addrs(1)?;
    let apps = nginx::apps(ctx, &servers).await?;
    let mut stack = Stack::start(ctx).await?;
    let entries = [fill::route(HOST, APP), fill::instance(APP, "1", servers[0])];
    let revision = fill::put_all(&stack.etcd.url(), entries).await;
    stack.has_synced(revision, PATIENCE).await?;
    let options = EdgeOptions {
        workers: Some(WORKERS),
        server_lines: WORKER_LOCATION.to_owned(),
        ..EdgeOptions::default()
    };
    let mut edges = Vec::new();
    for _ in 0..2 {
        let edge = nginx::edge(ctx, &stack.redis.url(), HOST, &options).await?;
        stack::has_applied(edge.status, revision, PATIENCE).await?;
        cpu::pin(edge.proxy.pids()[0], &cores)?;
        edges.push(edge);
    }
    stack.pin_to(&cores)?;
    stack.edges_live(edges.len(), PATIENCE).await?;

    let addrs: Vec<_> = edges.iter().map(|edge| edge.proxy.addr).collect();
    let mut poller = Poller::connect(&addrs, WORKERS, HOST)?;
    let registry = Registry::connect(&stack.etcd.url()).await;
    let admin = stack.agent.admin();
    let mut random = StdRng::seed_from_u64(1);
    let mut waits = Waits::default();
    let mut is_there = true;
    for number in 0..WARM_UP + ctx.size.pick(4, 100, 600) {
        std::thread::sleep(Duration::from_millis(random.random_range(SPACING)));
        is_there = !is_there;
        let revision = match is_there {
            true => registry.put_instance(APP, "1", servers[0]).await,
            false => registry.delete_instance(APP, "1").await,
        };
        let begin = Instant::now();
        // This thread is busy asking the workers.
        let wait = tokio::spawn(async move {
            let path = format!("/v1/wait?revision={revision}&timeout=10s");
            let answer = Connection::open(admin).await?.get("agent", &path).await?;
            anyhow::Ok((answer, Instant::now()))
        });
        let applied = poller.all_answer(is_there)?;
        let (answer, answered) = wait.await??;
        ensure!(answer.status.as_u16() == 200, "{}", answer.text());
        if number >= WARM_UP {
            let times = [applied - begin, answered - begin].map(|time| time.as_secs_f64() * 1e3);
            waits.applied.push(times[0]);
            waits.answered.push(times[1]);
            // Negative where the answer came before a worker was asked again.
            waits.behind.push(times[1] - times[0]);
        }
    }
    for edge in edges {
        edge.proxy.stop().await;
    }
    stack.stop().await;
    apps.stop().await;
    ctx.say(&format!("{} waits", waits.behind.len()));
    Ok(waits)
}
