//! Thousands of random changes against two agents and four nginx workers under
//! load, then silence: Redis and every worker must be right, to the last
//! entry.
//!
//! `POINTSMAN_CHURN_SEED` repeats a run's choices (not its timing), and
//! `POINTSMAN_CHURN_CHANGES` sets how many there are.

#![allow(clippy::print_stdout, reason = "the seed must be seen")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../support/mod.rs"]
mod support;

mod changes;
mod expect;

use std::time::{Duration, Instant};

use pointsman::dev::services::Service;
use pointsman::dev::wait;
use tokio::task::JoinSet;

use changes::{Changer, HOSTS};
use support::load::Load;
use support::registry;
use support::upstreams::Upstreams;
use support::world::World;

const WORKERS: usize = 4;
const UPSTREAMS: usize = 24;
/// Tasks that write at the same time.
const WRITERS: u64 = 4;
/// Everything is in step so long after the last change, at the latest.
const SETTLE: Duration = Duration::from_secs(30);

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number, not {text:?}")),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_random_churn_redis_and_all_workers_are_right() {
    let seed = setting("POINTSMAN_CHURN_SEED").unwrap_or_else(rand::random);
    let changes = setting("POINTSMAN_CHURN_CHANGES").unwrap_or(10_000);
    println!("churn: {changes} changes, POINTSMAN_CHURN_SEED={seed}");
    let begin = Instant::now();

    let mut world = World::start(2, WORKERS).await;
    let upstreams = Upstreams::start(UPSTREAMS).await;
    let workers = world.workers().await;
    let hosts: Vec<String> = expect::names_to_ask();
    let load = Load::on_each_worker(
        world.nginx.edge(),
        workers,
        &hosts,
        Duration::from_micros(500),
    );

    churn(&mut world, &upstreams, seed, changes).await;
    println!(
        "churn: all written after {:.1} s",
        begin.elapsed().as_secs_f64()
    );

    // Silence: leases run out, and what is bad goes, for a bad value freezes
    // what was there before, which depends on what an agent has seen.
    let writer = world.registry().await;
    wait::until("all leases have ended", SETTLE, async || {
        let leased = writer.leased().await;
        if leased.is_empty() {
            Ok(())
        } else {
            Err(leased.join(" "))
        }
    })
    .await
    .unwrap();
    let bad: Vec<String> = registry::fresh_table(&world.etcd.url())
        .await
        .bad()
        .map(|(key, _)| key.to_owned())
        .collect();
    for key in &bad {
        writer.delete(key).await;
    }
    let last = writer
        .put("routes/last.example", changes::route_value("app-0"))
        .await;

    let table = registry::fresh_table(&world.etcd.url()).await;
    assert_eq!(table.revision(), last, "somebody still writes");
    let mut redis = world.redis_connection().await;
    wait::until(
        "Redis is at the last revision",
        SETTLE,
        async || match registry::meta(&mut redis, "rev").await {
            Some(rev) if rev == last.to_string() => Ok(()),
            other => Err(format!("{other:?}, not {last}")),
        },
    )
    .await
    .unwrap();
    let differences = registry::differences(
        &registry::derived(&table),
        &registry::held(&mut redis).await.unwrap(),
    );
    assert!(
        differences.is_empty(),
        "seed {seed}: Redis differs:\n{}",
        differences.join("\n")
    );

    wait::until("the edge is at the last revision", SETTLE, async || {
        let status = world.edge_status().await;
        match expect::applied(&status) {
            Some(applied) if applied >= last => Ok(()),
            _ => Err(status.to_string()),
        }
    })
    .await
    .unwrap();
    let tally = load.stop().await;
    println!(
        "churn: {} routes, {} hosts asked under load: {tally:?}",
        table.counts().routes,
        HOSTS.len()
    );

    // The workers that the load warmed, asked on new connections.
    let mut workers = world.workers().await;
    let wrong = expect::wrong_answers(&table, &mut workers, &hosts).await;
    assert!(
        wrong.is_empty(),
        "seed {seed}: wrong answers:\n{}",
        wrong.join("\n")
    );

    for what in tally.keys() {
        assert!(
            ["200", "404 no_route", "503 no_instance"].contains(&what.as_str()),
            "seed {seed}: under load: {tally:?}"
        );
    }
    println!(
        "churn: all in step after {:.1} s",
        begin.elapsed().as_secs_f64()
    );
}

/// Writers beside each other; one of the agents is halted now and then, so
/// that it falls behind a compaction.
async fn churn(world: &mut World, upstreams: &Upstreams, seed: u64, changes: u64) {
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let registry = world.registry().await;
        let mut changer = Changer::new(registry, &upstreams.addrs, seed ^ (number << 32), number);
        let share = changes / WRITERS;
        writers.spawn(async move {
            for _ in 0..share {
                changer.change().await;
            }
        });
    }
    let mut turn = 0;
    while !writers.is_empty() {
        tokio::select! {
            Some(ended) = writers.join_next() => ended.unwrap(),
            () = tokio::time::sleep(Duration::from_secs(3)) => {
                let agent = world.agents[turn % 2].process();
                turn += 1;
                agent.pause();
                tokio::time::sleep(Duration::from_millis(800)).await;
                agent.resume();
            }
        }
    }
}
