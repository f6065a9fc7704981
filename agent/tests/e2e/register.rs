//! What `pointsman register` promises to an instance's start script.

use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use pointsman_harness::services::Service;
use pointsman_harness::{Process, Spec};
use pointsman_harness::{ports, wait};
use tokio::time::{Instant, timeout};

use crate::support::world::World;
use pointsman_harness::registry::Registry;
use pointsman_harness::{launcher, pointsman};

use crate::support::PATIENCE;

const KEY: &str = "instances/shop/shop-1";
const LONG: Duration = Duration::from_secs(60);

/// `pointsman register` with a command.
fn register(etcd_url: &str, logs: &Path, command: &[&str]) -> Process {
    let mut args = vec![
        "register",
        "--app",
        "shop",
        "--id",
        "shop-1",
        "--addr",
        "127.0.0.77:8080",
    ];
    args.extend(["--ttl", "60s", "--etcd-endpoints", etcd_url]);
    if !command.is_empty() {
        args.push("--");
        args.extend(command);
    }
    Process::spawn(&launcher(), Spec::new("register", pointsman(), args, logs)).unwrap()
}

async fn registered(registry: &Registry) -> (String, i64) {
    wait::until("the instance is registered", PATIENCE, async || {
        registry.get(KEY).await.ok_or_else(|| "no key".to_owned())
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn a_command_that_ends_deregisters_and_passes_its_exit_code_on() {
    let world = World::start(0, 1).await;
    let registry = world.registry().await;
    let script = format!(
        "until [ -e {0}/go ]; do sleep 0.05; done; exit 7",
        world.dir().display()
    );
    let mut process = register(
        &world.etcd.url(),
        &world.dir().join("logs"),
        &["sh", "-c", &script],
    );
    let (value, lease) = registered(&registry).await;
    assert!(value.contains("127.0.0.77:8080"), "{value}");
    assert_ne!(lease, 0);

    std::fs::write(world.dir().join("go"), "").unwrap();
    let status = timeout(PATIENCE, process.exited()).await.unwrap();
    assert_eq!(status.code(), Some(7), "{}", process.log_tail());
    assert_eq!(registry.get(KEY).await, None);
}

#[tokio::test]
async fn sigterm_deregisters_at_once() {
    let world = World::start(0, 1).await;
    let registry = world.registry().await;
    let mut process = register(&world.etcd.url(), &world.dir().join("logs"), &[]);
    registered(&registry).await;

    let begin = Instant::now();
    process.signal(Signal::SIGTERM);
    timeout(PATIENCE, process.exited()).await.unwrap();
    assert_eq!(registry.get(KEY).await, None);
    // Far below the TTL of a minute: it was not the lease that ended.
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_lost_key_and_a_lost_lease_are_made_again() {
    let world = World::start(0, 1).await;
    let registry = world.registry().await;
    let _process = register(&world.etcd.url(), &world.dir().join("logs"), &[]);
    let (_, lease) = registered(&registry).await;

    registry.delete(KEY).await;
    let (_, lease_after_delete) = registered(&registry).await;
    assert_ne!(lease_after_delete, 0);

    registry.revoke(lease_after_delete).await;
    let (_, new_lease) = registered(&registry).await;
    assert_ne!(new_lease, lease_after_delete);
    assert_ne!(new_lease, lease);
}

#[tokio::test]
async fn an_instance_is_registered_again_when_etcd_comes_back_without_it() {
    let mut world = World::start(0, 1).await;
    let _process = register(&world.etcd.url(), &world.dir().join("logs"), &[]);
    registered(&world.registry().await).await;

    // etcd is gone for good and comes back with nothing in it.
    world.etcd.process().kill().await;
    std::fs::remove_dir_all(world.dir().join("etcd")).unwrap();
    world.etcd.process().respawn().await.unwrap();
    world.etcd.ready().await.unwrap();
    registered(&world.registry().await).await;
}

#[tokio::test]
async fn register_waits_for_an_etcd_that_is_not_there_yet() {
    let mut world = World::start(0, 1).await;
    world.etcd.process().kill().await;
    let _process = register(&world.etcd.url(), &world.dir().join("logs"), &[]);
    world.etcd.process().respawn().await.unwrap();
    world.etcd.ready().await.unwrap();
    registered(&world.registry().await).await;
}

#[tokio::test]
async fn the_command_ends_with_its_registration() {
    let world = World::start(0, 1).await;
    let addr = ports::free_loopback();
    let mut instance = world.spawn_register("shop", "shop-1", addr, LONG);
    instance.ready().await.unwrap();
    registered(&world.registry().await).await;
    instance.process().stop(PATIENCE).await;
    assert!(
        ports::is_free(addr),
        "the command still listens: {:?}",
        ports::holder(addr)
    );
}
