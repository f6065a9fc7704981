//! nginx is reloaded and restarted while the table changes.

use std::time::Duration;

use pointsman_harness::services::Service;
use pointsman_harness::wait;

use crate::support::PATIENCE;
use crate::support::world::World;
use pointsman_harness::load::{Hosts, Load};
use pointsman_harness::upstreams::{SERVED_BY, Upstreams};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_while_instances_change_cost_nothing_and_leave_nothing_stale() {
    let mut world = World::start(1, 4).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    registry.put_route("shop.example", "shop").await;
    registry
        .put_instance("shop", "fixed", upstreams.addrs[0])
        .await;
    world.settles_at("shop.example", 200, None).await;
    let hosts = ["shop.example".to_owned()];
    let load = Load::start(
        world.nginx.edge(),
        4,
        Hosts::any(hosts),
        Duration::from_millis(2),
    );

    for round in 0..4 {
        let before = world.workers().await.pids();
        world.nginx.reload();
        for _ in 0..25 {
            registry
                .put_instance("shop", "moving", upstreams.addrs[1])
                .await;
            registry.delete_instance("shop", "moving").await;
        }
        let host = format!("round-{round}.example");
        registry.put_route(&host, "shop").await;
        let edge = world.nginx.edge();
        wait::until("new workers answer", PATIENCE, async || {
            let answer = pointsman_harness::http::get(edge, "x", "/_worker")
                .await
                .map_err(|error| error.to_string())?;
            if before.contains(&answer.text()) {
                Err(answer.text())
            } else {
                Ok(())
            }
        })
        .await
        .unwrap();
        world.settles_at(&host, 200, None).await;
    }
    // The one that moves is gone at last: nobody is sent there.
    let mut workers = world.workers().await;
    wait::until("only the fixed instance answers", PATIENCE, async || {
        // One of before the reload may still have taken a connection.
        workers.reconnect().await?;
        for _ in 0..10 {
            for answer in workers.get_all("shop.example", "/").await? {
                let by = answer.header(SERVED_BY).unwrap_or_default().to_owned();
                if by != upstreams.addrs[0].to_string() {
                    return Err(by);
                }
            }
        }
        Ok(())
    })
    .await
    .unwrap();
    let tally = load.stop().await;
    // A connection that an old worker closes as we send may break off; nginx
    // does that to every client at a reload.
    let failed: u64 = tally
        .iter()
        .filter(|(what, _)| *what != "200")
        .map(|(_, n)| n)
        .sum();
    assert!(
        tally
            .keys()
            .all(|what| what == "200" || what.contains("broke off")),
        "{tally:?}"
    );
    assert!(failed <= 16, "{tally:?}");
}

#[tokio::test]
async fn a_new_nginx_serves_everything_from_the_start() {
    let mut world = World::start(1, 2).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("*.shop.example", "shop").await;
    registry.put_route("shop.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;
    world.nginx.process().stop(PATIENCE).await;
    world.nginx.process().respawn().await.unwrap();
    world.nginx.ready().await.unwrap();
    // At once, not only when it has caught up.
    world.settles_at("shop.example", 200, None).await;
    world.settles_at("a.b.shop.example", 200, None).await;
    world.settles_at("example", 404, Some("no_route")).await;
}
