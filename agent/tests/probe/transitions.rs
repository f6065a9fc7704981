//! What probes find reaches etcd and Redis, and who finds it.

use std::time::Duration;

use pointsman_harness::services::Service;
use pointsman_store::etcd::{EtcdOptions, EtcdStore};
use pointsman_store::{Compare, Condition, Op, Store, Written};
use tokio::time::Instant;

use crate::instance::Instance;
use crate::world::{World, until};
use pointsman_harness::registry::PREFIX;

const CHECK: &str = r#"{"health_check":{"path":"/up","interval":"1s","rise":2,"fall":2}}"#;
const UP: &str = r#"{"up":true}"#;
const MARK: &str = r#"{"up":false,"class":"status","reason":"status 503"}"#;
/// So many more probes of an instance show that time has passed.
const SEVERAL: usize = 4;

/// A world with an app of a few instances, each on the same lease.
async fn shop(agents: usize, count: usize) -> (World, Vec<Instance>, i64) {
    let world = Box::pin(World::start(agents)).await;
    let lease = world.registry.grant(600).await;
    world.registry.put("apps/shop", CHECK).await;
    let mut instances = Vec::new();
    for n in 0..count {
        let instance = Instance::start().await;
        let key = format!("instances/shop/i{n}");
        let addr = instance.addr.to_string();
        world.registry.put_leased(&key, addr, lease).await;
        instances.push(instance);
    }
    probed(&world, count).await;
    for n in 0..count {
        marked(&world, &format!("i{n}"), false).await;
    }
    (world, instances, lease)
}

/// Waits until each instance is probed by one agent.
async fn probed(world: &World, count: usize) {
    until("each instance is probed", async || {
        let mut shares = Vec::new();
        for agent in 0..world.agents.len() {
            shares.push(world.metric(agent, "probed_instances").await as usize);
        }
        match shares.iter().sum::<usize>() {
            sum if sum == count => Ok(()),
            _ => Err(format!("{shares:?}")),
        }
    })
    .await;
}

/// Waits until each of these has been asked so many more times.
async fn asked_again<'a>(instances: impl IntoIterator<Item = &'a Instance>, times: usize) {
    let before = instances.into_iter().map(|i| (i, i.asked()));
    let before: Vec<_> = before.collect();
    until("each instance is asked again", async || {
        let more = before.iter().map(|(i, count)| i.asked() - count);
        let more: Vec<_> = more.collect();
        match more.iter().min() {
            Some(least) if *least < times => Err(format!("{more:?}")),
            _ => Ok(()),
        }
    })
    .await;
}

/// Waits until etcd's mark says that the instance is down, or up, and Redis's
/// record too.
async fn marked(world: &World, id: &str, down: bool) -> Option<(String, i64)> {
    let wanted = if down { MARK } else { UP };
    until(&format!("{id} is marked: {wanted}"), async || {
        let mark = world.registry.get(&format!("health/shop/{id}")).await;
        let record = world.record("shop", id).await;
        let is_marked = mark.as_ref().is_some_and(|(value, _)| value == wanted);
        let is_down = record.as_ref().map(|text| text.contains(r#""down":1"#));
        if is_marked && is_down == Some(down) {
            return Ok(mark);
        }
        Err(format!("{mark:?} in etcd, {record:?} in redis"))
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_instance_is_marked_and_a_well_one_again_and_nothing_is_written_between() {
    let (world, instances, lease) = shop(2, 3).await;
    instances[1].set_well(false);
    let mark = marked(&world, "i1", true).await;
    assert_eq!(mark, Some((MARK.to_owned(), lease)));
    for agent in 0..2 {
        until("the API shows it", async || {
            let shown = world.state(agent, "shop", "i1").await;
            match (shown["state"].as_str(), shown["reason"].as_str()) {
                (Some("unhealthy"), Some("status 503")) => Ok(()),
                _ => Err(shown.to_string()),
            }
        })
        .await;
    }
    let revision = world.registry.revision().await;
    let asked: Vec<_> = instances.iter().map(Instance::asked).collect();
    let begun = Instant::now();
    asked_again(&instances, 2 * SEVERAL).await;
    assert_eq!(world.registry.revision().await, revision);
    let intervals = usize::try_from(begun.elapsed().as_secs()).unwrap();
    for (instance, before) in instances.iter().zip(asked) {
        // Once in each interval; twice, if both agents asked.
        let times = instance.asked() - before;
        assert!(
            times <= intervals + 2,
            "asked {times} times in {intervals} intervals"
        );
    }
    instances[1].set_well(true);
    marked(&world, "i1", false).await;
    assert_eq!(world.registry.revision().await, revision + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_an_agent_is_killed_the_other_goes_on_from_what_etcd_says() {
    let (mut world, instances, _) = shop(2, 8).await;
    for agent in 0..2 {
        until("each agent has some of the instances", async || match world
            .metric(agent, "probed_instances")
            .await
        {
            share if share > 0.0 => Ok(()),
            _ => Err(format!("agent {agent} has none")),
        })
        .await;
    }
    instances
        .iter()
        .take(4)
        .for_each(|instance| instance.set_well(false));
    for id in ["i0", "i1", "i2", "i3"] {
        marked(&world, id, true).await;
    }
    let gone = world.agents[0].process().kill().await;
    assert!(!gone.success());
    let survivor = world.agents.remove(1);
    world.agents = vec![survivor];
    let revision = world.registry.revision().await;
    probed(&world, 8).await;
    // Its key went with its lease, and no mark did.
    assert_eq!(world.registry.revision().await, revision + 1);
    asked_again(&instances, SEVERAL).await;
    instances[0].set_well(true);
    marked(&world, "i0", false).await;
    instances[7].set_well(false);
    marked(&world, "i7", true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_leaves_hands_its_instances_over_at_once() {
    let (mut world, _instances, _) = shop(2, 8).await;
    let process = world.agents[0].process();
    let left = process.stop(Duration::from_secs(10)).await;
    assert!(left.success());
    world.agents.remove(0);
    until("all are taken over", async || {
        match world.metric(0, "probed_instances").await as usize {
            8 => Ok(()),
            share => Err(share.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_was_removed_is_not_asked_any_more() {
    let (world, instances, _) = shop(2, 4).await;
    let removed = world.registry.delete_instance("shop", "i2").await;
    for agent in 0..2 {
        until("the agent has the deletion", async || {
            match world.metric(agent, "revision_seen").await {
                seen if seen >= removed as f64 => Ok(()),
                seen => Err(seen.to_string()),
            }
        })
        .await;
    }
    let asked = instances[2].asked();
    asked_again([&instances[0], &instances[1], &instances[3]], SEVERAL).await;
    assert_eq!(instances[2].asked(), asked);
    world.registry.delete("apps/shop").await;
    probed(&world, 0).await;
    let asked = instances[1].asked();
    // Those of another app go on.
    let other = Instance::start().await;
    world.registry.put("apps/blog", CHECK).await;
    world.registry.put_instance("blog", "a", other.addr).await;
    asked_again([&other], SEVERAL).await;
    assert_eq!(instances[1].asked(), asked, "there is no check any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_is_registered_again_is_up_again() {
    let (world, instances, lease) = shop(1, 3).await;
    instances[0].set_well(false);
    marked(&world, "i0", true).await;
    // On the same lease, so that the mark does not go with the lease.
    world.registry.delete_instance("shop", "i0").await;
    let addr = instances[0].addr.to_string();
    instances[0].set_well(true);
    let key = "instances/shop/i0";
    world.registry.put_leased(key, addr, lease).await;
    marked(&world, "i0", false).await;
    let revision = world.registry.revision().await;
    asked_again([&instances[0]], SEVERAL).await;
    assert_eq!(
        world.registry.revision().await,
        revision,
        "it is not marked again"
    );
    instances[0].set_well(false);
    marked(&world, "i0", true).await;
}

#[tokio::test]
async fn etcd_writes_a_key_only_while_the_other_is_what_it_was() {
    let world = World::start_without_agents().await;
    let store = EtcdStore::new(EtcdOptions {
        endpoints: vec![world.etcd.url()],
        user: None,
        tls: None,
        prefix: PREFIX.to_owned(),
    });
    let seen = world
        .registry
        .put_instance("shop", "a", "10.0.0.1:80")
        .await;
    let put = async |seen| {
        let unchanged = Compare::new("instances/shop/a", Condition::ModRevision(seen));
        let put = Op::put("health/shop/a", "{}", 0);
        store.txn(&[unchanged], &[put]).await.unwrap()
    };
    assert_eq!(put(seen).await, Written::Done(seen + 1));
    let moved = world
        .registry
        .put_instance("shop", "a", "10.0.0.2:80")
        .await;
    let Written::Conflict(Some(found)) = put(seen).await else {
        panic!("written");
    };
    assert_eq!(
        (&*found.key, found.mod_revision),
        ("instances/shop/a", moved)
    );
    world.registry.delete_instance("shop", "a").await;
    assert_eq!(put(moved).await, Written::Conflict(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_goes_with_the_lease_of_its_instance() {
    let (world, instances, lease) = shop(1, 2).await;
    instances[0].set_well(false);
    marked(&world, "i0", true).await;
    world.registry.revoke(lease).await;
    assert_eq!(world.registry.get("health/shop/i0").await, None);
    probed(&world, 0).await;
}
