//! New instances of an app with a health check, over real etcd, Redis and
//! agents: they get a record, and so requests, with their first good probe.

use pointsman_harness::certificates::Certificates;
use pointsman_harness::http;
use pointsman_harness::services::Service;
use serde_json::Value;

use crate::instance::Instance;
use crate::world::{World, until};

const CHECK: &str = r#"{"health_check":{"interval":"10s"}}"#;

/// Waits until an agent shows an instance so; answers what it shows.
async fn shown(world: &World, id: &str, state: &str) -> Value {
    until(&format!("{id} is {state}"), async || {
        let shown = world.state(0, "shop", id).await;
        match shown["state"] == state && (state != "pending" || shown.get("reason").is_some()) {
            true => Ok(shown),
            false => Err(shown.to_string()),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_that_boots_has_no_record_until_it_answers() {
    let world = World::start(1).await;
    world.registry.put("apps/shop", CHECK).await;
    let booting = Instance::start().await;
    booting.set_well(false);
    world.registry.put_instance("shop", "a", booting.addr).await;
    let shown_as = shown(&world, "a", "pending").await;
    assert_eq!(shown_as["reason"], "status 503");
    let asked = booting.asked();
    until(
        "it is asked again, though the interval is long",
        async || match booting.asked() - asked {
            more if more >= 3 => Ok(()),
            more => Err(format!("{more} times")),
        },
    )
    .await;
    assert_eq!(world.record("shop", "a").await, None);
    assert_eq!(world.metric(0, "pending_instances").await, 1.0);
    booting.set_well(true);
    shown(&world, "a", "live").await;
    until("Redis has its record", async || {
        let record = world.record("shop", "a").await;
        record.map(drop).ok_or_else(|| "none".to_owned())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_and_a_new_check_leave_what_runs_as_it_is() {
    // What agents of before have left: no key `pending`.
    let mut world = World::start_without_agents().await;
    world.registry.put("epoch", "e").await;
    world.registry.put("apps/shop", CHECK).await;
    let sick = Instance::start().await;
    sick.set_well(false);
    world.registry.put_instance("shop", "a", sick.addr).await;
    world.add_agent("agent-1");
    world.agents[0].ready().await.unwrap();
    until("it is probed", async || match sick.asked() {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    shown(&world, "a", "live").await;
    // An app gets its check while it runs.
    let other = Instance::start().await;
    other.set_well(false);
    world.registry.put_instance("blog", "b", other.addr).await;
    world.registry.put("apps/blog", CHECK).await;
    until("it is probed", async || match other.asked() {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
    assert_eq!(world.state(0, "blog", "b").await["state"], "live");
    world.registry.put_instance("blog", "c", other.addr).await;
    until("a new one is pending", async || {
        let shown = world.state(0, "blog", "c").await;
        match shown["state"] == "pending" {
            true => Ok(()),
            false => Err(shown.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_trusts_the_authorities_that_its_environment_names() {
    let certificates = Certificates::make();
    let world = World::start_without_agents().await;
    let authority = certificates.path("ca.pem");
    let (_agent, admin) = world.spawn_agent("agent-1", "SSL_CERT_FILE", &authority);
    until("the registry has its name", async || {
        let epoch = world.registry.get("epoch").await;
        epoch.map(drop).ok_or_else(|| "none".to_owned())
    })
    .await;
    let check = r#"{"health_check":{"tls":true}}"#;
    world.registry.put("apps/shop", check).await;
    let (_server, over_tls) = world.tls_server(&certificates);
    let plain = Instance::start().await;
    for (id, addr) in [("a", over_tls), ("b", plain.addr)] {
        world.registry.put_instance("shop", id, addr).await;
    }
    until("the one over TLS is live, the other is not", async || {
        let answer = http::get(admin, &admin.to_string(), "/v1/apps/shop").await;
        let answer = answer.map_err(|error| error.to_string())?;
        let body: Value = serde_json::from_slice(&answer.body).map_err(|e| e.to_string())?;
        let instances = &body["instances"];
        let reason = instances[1]["reason"].as_str().unwrap_or_default();
        let is_pending = instances[1]["state"] == "pending" && reason.starts_with("no TLS: ");
        match instances[0]["state"] == "live" && is_pending {
            true => Ok(()),
            false => Err(instances.to_string()),
        }
    })
    .await;
}
