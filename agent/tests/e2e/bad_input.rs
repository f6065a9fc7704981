//! Garbage in etcd: shown, and the last good value is kept.

use pointsman_dev::wait;

use crate::support::PATIENCE;
use crate::support::upstreams::{SERVED_BY, Upstreams};
use crate::support::world::World;

/// Waits until the status lists this key as bad, or no longer does.
async fn shown_as_bad(world: &World, key: &str, wanted: bool) {
    wait::until(
        &format!("{key} is shown as bad: {wanted}"),
        PATIENCE,
        async || {
            let status = world.status(0).await;
            let listed = status["bad"].as_array().into_iter().flatten().any(|bad| {
                bad["key"]
                    .as_str()
                    .is_some_and(|shown| shown.ends_with(key))
            });
            if listed == wanted {
                Ok(())
            } else {
                Err(status.to_string())
            }
        },
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_bad_instance_value_keeps_the_last_good_one() {
    let world = World::start(1, 1).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    registry.put_route("shop.example", "shop").await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    world.settles_at("shop.example", 200, None).await;
    let big = format!(
        r#"{{"addr":"127.0.0.66:80","zone":"{}"}}"#,
        "x".repeat(2000)
    );
    let bad_values = [
        "",
        "nonsense",
        "{",
        "host.name:80",
        "unix:/run/x.sock",
        "127.0.0.66:0",
        "127.0.0.66:70000",
        "127.0.0.66",
        "::1:80",
        r#"{"addr":"127.0.0.66:80","weight":""}"#,
        r#"{"addr":"127.0.0.66:80","weight":-1}"#,
        r#"{"addr":"127.0.0.66:80","unknown":1}"#,
        r#"{"weight":1}"#,
        big.as_str(),
    ];
    for value in bad_values {
        registry.put("instances/shop/a", value).await;
        shown_as_bad(&world, "instances/shop/a", true).await;
        let mut workers = world.workers().await;
        for answer in workers.get_all("shop.example", "/").await.unwrap() {
            assert_eq!(
                answer.header(SERVED_BY),
                Some(&*upstreams.addrs[0].to_string())
            );
        }
        registry.put_instance("shop", "a", upstreams.addrs[0]).await;
        shown_as_bad(&world, "instances/shop/a", false).await;
    }
    // A bad one that goes, is gone.
    registry.put("instances/shop/a", "nonsense").await;
    shown_as_bad(&world, "instances/shop/a", true).await;
    registry.delete_instance("shop", "a").await;
    shown_as_bad(&world, "instances/shop/a", false).await;
    world
        .settles_at("shop.example", 503, Some("no_instance"))
        .await;
}

#[tokio::test]
async fn bad_keys_are_shown_and_disturb_nobody() {
    let world = World::start(1, 1).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    let long = format!("routes/{}.example", "a".repeat(300));
    let bad_keys = [
        "routes/Shop.example",
        "routes/shop.example.",
        "routes/my_shop.example",
        long.as_str(),
        "routes/shop.example:80",
        "routes/..",
        "routes/a.*.example",
        "routes/b\u{fc}cher.example",
        "routes/",
        "instances/shop",
        "instances/Shop/a",
        "instances/shop/a/b",
        "apps/",
        "unheard-of/x",
    ];
    for key in bad_keys {
        registry.put(key, "{}").await;
        shown_as_bad(&world, key, true).await;
    }
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("shop.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;
    for key in bad_keys {
        registry.delete(key).await;
        shown_as_bad(&world, key, false).await;
    }
}

#[tokio::test]
async fn a_bad_route_keeps_the_last_good_one() {
    let world = World::start(1, 1).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_route("shop.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;
    for value in [
        "",
        "shop",
        "{}",
        r#"{"rules":[]}"#,
        r#"{"rules":[{"path":"/x"}]}"#,
    ] {
        registry.put("routes/shop.example", value).await;
        shown_as_bad(&world, "routes/shop.example", true).await;
        world.settles_at("shop.example", 200, None).await;
    }
    registry.delete("routes/shop.example").await;
    world
        .settles_at("shop.example", 404, Some("no_route"))
        .await;
}
