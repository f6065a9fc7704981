//! Two agents side by side.

use std::time::Duration;

use pointsman_dev::services::Service;

use crate::support::load::Load;
use crate::support::registry;
use crate::support::upstreams::Upstreams;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_agent_may_die_and_changes_still_arrive() {
    let mut world = World::start(2, 2).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    registry.put_route("shop.example", "shop").await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    world.settles_at("shop.example", 200, None).await;
    let hosts = ["shop.example".to_owned()];
    let load = Load::start(world.nginx.edge(), 2, &hosts, Duration::from_millis(2));

    for victim in [0, 1] {
        world.agents[victim].process().kill().await;
        let host = format!("while-{victim}-is-dead.example");
        registry.put_route(&host, "shop").await;
        world.settles_at(&host, 200, None).await;
        world.agents[victim].process().respawn().await.unwrap();
        world.agents[victim].ready().await.unwrap();
    }
    world.in_step().await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

#[tokio::test]
async fn an_agent_that_was_halted_for_a_while_does_no_harm_when_it_goes_on() {
    let mut world = World::start(2, 1).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    registry.put_route("shop.example", "shop").await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    world.settles_at("shop.example", 200, None).await;

    world.agents[0].process().pause();
    for round in 0..50 {
        registry
            .put_instance("shop", &format!("i{}", round % 7), upstreams.addrs[1])
            .await;
        registry
            .delete_instance("shop", &format!("i{}", (round + 3) % 7))
            .await;
    }
    let last = registry.put_route("late.example", "shop").await;
    world.settles_at("late.example", 200, None).await;
    world.agents[0].process().resume();
    world.agents[0].ready().await.unwrap();
    world.in_step().await;
    let mut redis = world.redis_connection().await;
    let rev: i64 = registry::meta(&mut redis, "rev")
        .await
        .unwrap()
        .parse()
        .unwrap();
    assert!(rev >= last, "redis went back: {rev} < {last}");
}

#[tokio::test]
async fn agents_may_all_be_gone_for_a_while() {
    let mut world = World::start(2, 1).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("kept.example", "shop").await;
    registry.put_route("gone.example", "shop").await;
    world.settles_at("gone.example", 200, None).await;
    for agent in &mut world.agents {
        agent.process().kill().await;
    }
    registry.delete("routes/gone.example").await;
    registry.put_route("new.example", "shop").await;
    let revision = registry.revision().await;
    registry.compact(revision).await.unwrap();
    for agent in &mut world.agents {
        agent.process().respawn().await.unwrap();
        agent.ready().await.unwrap();
    }
    world.in_step().await;
    world
        .settles_at("gone.example", 404, Some("no_route"))
        .await;
    world.settles_at("new.example", 200, None).await;
    world.settles_at("kept.example", 200, None).await;
}
