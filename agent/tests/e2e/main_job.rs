//! The life of an app, from its first instance to its end.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use nix::sys::signal::Signal;
use pointsman_dev::services::Service;
use pointsman_dev::{http, ports, wait};
use serde_json::Value;

use crate::support::PATIENCE;
use crate::support::load::Load;
use crate::support::workers::Workers;
use crate::support::world::World;

/// Long enough not to expire by itself.
const LONG: Duration = Duration::from_secs(60);

/// The first lines of the answers of each worker, over some requests.
async fn who_answers(workers: &mut Workers, host: &str) -> Result<Vec<BTreeSet<String>>, String> {
    let mut all = Vec::new();
    for (_, connection) in workers.each() {
        let mut seen = BTreeSet::new();
        for _ in 0..8 {
            let answer = connection
                .get(host, "/")
                .await
                .map_err(|error| error.to_string())?;
            if answer.status != StatusCode::OK {
                return Err(format!("{}: {}", answer.status, answer.text().trim()));
            }
            seen.insert(answer.text().lines().next().unwrap_or_default().to_owned());
        }
        all.push(seen);
    }
    Ok(all)
}

/// Waits until on each worker exactly these instances answer.
async fn answered_by(workers: &mut Workers, host: &str, wanted: &[String]) {
    let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    wait::until(
        &format!("{host} is answered by {wanted:?}"),
        PATIENCE,
        async || {
            let seen = who_answers(workers, host).await?;
            if seen.iter().all(|seen| *seen == wanted) {
                Ok(())
            } else {
                Err(format!("{seen:?}"))
            }
        },
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_app_comes_scales_moves_and_goes_while_requests_are_answered() {
    let world = World::start(1, 2).await;
    let mut workers = world.workers().await;
    let title = |id: &str, addr| format!("{id} at {addr}");

    // Nothing is bound yet.
    world
        .settles_at("shop.example", 404, Some("no_route"))
        .await;

    // Bound before there is an instance.
    world.bind("shop.example", "shop").await;
    world
        .settles_at("shop.example", 503, Some("no_instance"))
        .await;

    // Comes.
    let mut first = world.register("shop", "shop-1", LONG).await;
    answered_by(
        &mut workers,
        "shop.example",
        &[title("shop-1", first.addr())],
    )
    .await;

    let hosts = ["shop.example".to_owned()];
    let load = Load::start(world.nginx.edge(), 2, &hosts, Duration::from_millis(2));

    // Scales.
    let mut second = world.register("shop", "shop-2", LONG).await;
    let both = [
        title("shop-1", first.addr()),
        title("shop-2", second.addr()),
    ];
    answered_by(&mut workers, "shop.example", &both).await;

    // Moves: the same id at another address, then the old process goes.
    let elsewhere = ports::free_loopback();
    let mut moved = world.spawn_register("shop", "shop-1", elsewhere, LONG);
    moved.ready().await.unwrap();
    let both = [title("shop-1", elsewhere), title("shop-2", second.addr())];
    answered_by(&mut workers, "shop.example", &both).await;
    first.process().kill().await;
    answered_by(&mut workers, "shop.example", &both).await;

    // Goes down to one, cleanly.
    second.process().stop(PATIENCE).await;
    answered_by(&mut workers, "shop.example", &[title("shop-1", elsewhere)]).await;

    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");

    // The last one goes; then the route.
    moved.process().stop(PATIENCE).await;
    world
        .settles_at("shop.example", 503, Some("no_instance"))
        .await;
    let gone = world
        .api(Method::DELETE, "/v1/routes/shop.example", &Value::Null)
        .await;
    assert!(gone.status.is_success(), "{}", gone.text());
    world
        .settles_at("shop.example", 404, Some("no_route"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_instance_costs_no_request_and_leaves_when_its_lease_ends() {
    let world = World::start(1, 2).await;
    let mut workers = world.workers().await;
    world.bind("shop.example", "shop").await;
    let mut doomed = world
        .register("shop", "doomed", Duration::from_secs(2))
        .await;
    let other = world.register("shop", "other", LONG).await;
    let titles = [
        format!("doomed at {}", doomed.addr()),
        format!("other at {}", other.addr()),
    ];
    answered_by(&mut workers, "shop.example", &titles).await;

    let hosts = ["shop.example".to_owned()];
    let load = Load::start(world.nginx.edge(), 2, &hosts, Duration::from_millis(2));
    doomed.process().kill().await;
    answered_by(&mut workers, "shop.example", &titles[1..]).await;
    let registry = world.registry().await;
    wait::until("the lease has ended", PATIENCE, async || {
        match registry.get("instances/shop/doomed").await {
            None => Ok(()),
            Some((value, _)) => Err(value),
        }
    })
    .await
    .unwrap();
    answered_by(&mut workers, "shop.example", &titles[1..]).await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

#[tokio::test]
async fn an_agent_that_stops_finishes_and_says_goodbye() {
    let mut world = World::start(1, 1).await;
    let admin = world.agents[0].admin();
    let process = world.agents[0].process();
    process.signal(Signal::SIGTERM);
    let status = tokio::time::timeout(PATIENCE, process.exited())
        .await
        .unwrap();
    assert!(status.success(), "{status}\n{}", process.log_tail());
    assert!(http::get(admin, "x", "/livez").await.is_err());
}
