//! etcd goes and comes back.

use std::time::Duration;

use pointsman_dev::services::Service;
use pointsman_dev::wait;

use crate::support::PATIENCE;
use crate::support::load::Load;
use crate::support::upstreams::Upstreams;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_etcd_costs_no_request_and_no_change() {
    let mut world = World::start(2, 2).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("shop.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;
    let hosts = ["shop.example".to_owned()];
    let load = Load::start(world.nginx.edge(), 2, &hosts, Duration::from_millis(2));

    for round in 0..3 {
        world.etcd.process().kill().await;
        world.etcd.process().respawn().await.unwrap();
        world.etcd.ready().await.unwrap();
        let host = format!("round-{round}.example");
        world.registry().await.put_route(&host, "shop").await;
        world.settles_at(&host, 200, None).await;
    }
    world.in_step().await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_etcd_is_away_the_edge_serves_what_it_has_and_the_status_says_so() {
    let mut world = World::start(1, 1).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("shop.example", "shop").await;
    registry.put_route("cold.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;
    world.etcd.process().kill().await;
    wait::until("the status tells that etcd is away", PATIENCE, async || {
        let status = world.status(0).await;
        match status["etcd"]["connected"].as_bool() {
            Some(false) => Ok(()),
            _ => Err(status.to_string()),
        }
    })
    .await
    .unwrap();
    // Also a host that no worker has asked for yet.
    world.settles_at("cold.example", 200, None).await;
    world.settles_at("shop.example", 200, None).await;
    world.etcd.process().respawn().await.unwrap();
    world.etcd.ready().await.unwrap();
    world.in_step().await;
}

#[tokio::test]
async fn an_agent_waits_for_an_etcd_and_a_redis_that_come_later() {
    let mut world = World::start(0, 1).await;
    world.etcd.process().kill().await;
    world.redis.process().kill().await;
    world.add_agent("agent-1");
    world.redis.process().respawn().await.unwrap();
    world.etcd.process().respawn().await.unwrap();
    world.etcd.ready().await.unwrap();
    world.redis.ready().await.unwrap();
    world.agents[0].ready().await.unwrap();
}
