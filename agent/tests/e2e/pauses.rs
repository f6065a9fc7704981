//! A pause from the API to the route's record, and its end by etcd's own clock.

use axum::http::Method;
use etcd_client::Client;
use pointsman_harness::services::Service;
use pointsman_harness::wait;
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::world::World;

const HOST: &str = "paused.example";
const PATH: &str = "/v1/routes/paused.example/pause";

/// Waits until the route's record in Redis has this pause.
async fn recorded(world: &World, pause: &Value) {
    let mut redis = world.redis_connection().await;
    wait::until("the record has the pause, or not", PATIENCE, async || {
        let mut get = redis::cmd("GET");
        get.arg(format!("pointsman:route:{HOST}"));
        let text: String = get.query_async(&mut redis).await.unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        match record["pause"] == *pause {
            true => Ok(()),
            false => Err(text),
        }
    })
    .await
    .unwrap();
}

/// The lease that the pause hangs on.
async fn lease(world: &World) -> i64 {
    let registry = world.registry().await;
    let (_, lease) = registry.get(&format!("pauses/{HOST}")).await.unwrap();
    assert_ne!(lease, 0);
    lease
}

async fn has_lease(world: &World, lease: i64) -> bool {
    let mut client = Client::connect([world.etcd.url()], None).await.unwrap();
    let leases = client.leases().await.unwrap();
    leases.leases().iter().any(|found| found.id() == lease)
}

#[tokio::test]
async fn etcd_ends_a_pause_when_its_agent_is_gone() {
    let mut world = World::start(2, 1).await;
    world.bind(HOST, "shop").await;
    let call = async |world: &World, method, path: &str| {
        let answer = world.api(method, path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    call(&world, Method::PUT, &format!("{PATH}?for=1h&max=7")).await;
    recorded(&world, &json!({ "max": 7 })).await;
    let lease = lease(&world).await;
    assert!(has_lease(&world, lease).await);
    call(&world, Method::DELETE, PATH).await;
    recorded(&world, &Value::Null).await;
    assert!(!has_lease(&world, lease).await, "it is left behind");
    call(&world, Method::PUT, &format!("{PATH}?for=6s")).await;
    recorded(&world, &json!({ "max": 1000 })).await;
    assert!(!world.agents[0].process().kill().await.success());
    recorded(&world, &Value::Null).await;
}
