//! Redis loses its content, or gets somebody else's.

use std::time::Duration;

use pointsman_dev::services::Service;
use redis::AsyncCommands;

use crate::support::load::Load;
use crate::support::upstreams::Upstreams;
use crate::support::world::World;

/// One app with an instance, two hosts; the first is being asked for.
async fn small_world(agents: usize) -> (World, Upstreams, Load) {
    let world = World::start(agents, 2).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("shop.example", "shop").await;
    registry.put_route("other.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;
    let hosts = ["shop.example".to_owned()];
    let load = Load::start(world.nginx.edge(), 2, &hosts, Duration::from_millis(2));
    (world, upstreams, load)
}

/// A change made now arrives, and what was there before is still right; no
/// request to the known host has failed.
async fn is_well(world: &World, load: Load) {
    let registry = world.registry().await;
    registry.put_route("after.example", "shop").await;
    world.settles_at("after.example", 200, None).await;
    registry.delete("routes/other.example").await;
    world
        .settles_at("other.example", 404, Some("no_route"))
        .await;
    world.in_step().await;
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_redis_is_filled_again_also_when_nothing_changes() {
    let (world, _upstreams, load) = small_world(2).await;
    let mut redis = world.redis_connection().await;
    let _: () = redis::cmd("FLUSHALL")
        .query_async(&mut redis)
        .await
        .unwrap();
    // Nothing is written to etcd here: the agents must notice by themselves.
    world.in_step().await;
    is_well(&world, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_restarts_empty_is_filled_again() {
    let (mut world, _upstreams, load) = small_world(2).await;
    world.redis.process().kill().await;
    // A change in between must not be lost.
    world
        .registry()
        .await
        .put_route("meanwhile.example", "shop")
        .await;
    world.redis.process().respawn().await.unwrap();
    world.redis.ready().await.unwrap();
    world.settles_at("meanwhile.example", 200, None).await;
    is_well(&world, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_for_a_while_costs_no_request_of_a_known_host() {
    let (mut world, _upstreams, load) = small_world(2).await;
    world.redis.process().pause();
    let registry = world.registry().await;
    for round in 0..20 {
        registry
            .put_route(&format!("h{round}.example"), "shop")
            .await;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    world.redis.process().resume();
    world.settles_at("h19.example", 200, None).await;
    is_well(&world, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_a_wrong_type_are_replaced() {
    let (world, _upstreams, load) = small_world(2).await;
    let mut redis = world.redis_connection().await;
    let _: () = redis.del("pointsman:inst:shop").await.unwrap();
    let _: () = redis
        .set("pointsman:inst:shop", "not a hash")
        .await
        .unwrap();
    // The next change of that app runs into it.
    world
        .registry()
        .await
        .put_instance("shop", "b", _upstreams.addrs[1])
        .await;
    world.in_step().await;
    is_well(&world, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_meta_leads_to_a_rebuild() {
    let (world, _upstreams, load) = small_world(2).await;
    let mut redis = world.redis_connection().await;
    let _: () = redis.del("pointsman:meta").await.unwrap();
    let _: () = redis.lpush("pointsman:meta", "garbage").await.unwrap();
    world.in_step().await;
    is_well(&world, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_stream_of_a_wrong_type_leads_to_a_rebuild() {
    let (world, _upstreams, load) = small_world(2).await;
    let mut redis = world.redis_connection().await;
    let _: () = redis.del("pointsman:changes").await.unwrap();
    let _: () = redis.set("pointsman:changes", "garbage").await.unwrap();
    world
        .registry()
        .await
        .put_instance("shop", "b", _upstreams.addrs[1])
        .await;
    world.in_step().await;
    is_well(&world, load).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_in_a_record_costs_no_request() {
    let (world, _upstreams, load) = small_world(1).await;
    let mut redis = world.redis_connection().await;
    // Written past the agent: the edge must live with it.
    for garbage in [
        "",
        "{",
        "[1]",
        "[\"1\",\"unix:/x\",100]",
        "[\"1\",\"h:80\",1]",
        "\u{0}",
    ] {
        let _: () = redis
            .hset("pointsman:inst:shop", "bad", garbage)
            .await
            .unwrap();
        let _: () = redis
            .set("pointsman:route:bad.example", garbage)
            .await
            .unwrap();
        let mut workers = world.workers().await;
        for answer in workers.get_all("bad.example", "/").await.unwrap() {
            assert!(answer.status.as_u16() >= 400, "{}", answer.status);
        }
        for answer in workers.get_all("other.example", "/").await.unwrap() {
            assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        }
    }
    let tally = load.stop().await;
    assert_eq!(tally.keys().collect::<Vec<_>>(), ["200"], "{tally:?}");
}
