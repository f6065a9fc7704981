//! Deploys by drain and wait, on three edges of two workers each, with no sleep
//! in the deploy: nobody may notice. And what an edge that is stopped, killed or
//! cut off does to them.
//!
//! `POINTSMAN_DEPLOYS` says how many deploys (2).

#![allow(clippy::print_stderr, reason = "a failed test shows its logs")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod app;
mod clients;
mod fleet;

use std::time::Duration;

use futures::future::join_all;
use serde_json::Value;

use app::Instance;
use clients::Clients;
use fleet::Fleet;

const HOST: &str = "shop.example";
/// Instances of each version.
const INSTANCES: usize = 3;

fn deploys() -> usize {
    let wanted = std::env::var("POINTSMAN_DEPLOYS");
    wanted.map_or(2, |text| {
        text.parse().expect("POINTSMAN_DEPLOYS is a number")
    })
}

/// Starts the instances of a version, live everywhere when this returns.
async fn roll_out(fleet: &Fleet, version: usize) -> Vec<Instance> {
    let mut instances = Vec::new();
    for number in 0..INSTANCES {
        let instance = Instance::start(&format!("v{version}-{number}")).await;
        let path = format!("/v1/apps/shop/instances/{}?wait=8s", instance.id);
        let body = format!(r#"{{"addr":"{}"}}"#, instance.addr);
        fleet.call("PUT", &path, &body).await.expect_status(200);
        instances.push(instance);
    }
    instances
}

/// Drains an instance, and stops it.
async fn roll_in(fleet: &Fleet, instance: Instance) -> Instance {
    let path = format!("/v1/apps/shop/instances/{}", instance.id);
    let drain = format!("{path}/drain?timeout=8s");
    let drained = fleet.call("POST", &drain, "").await;
    drained.expect_status(200);
    instance.is_drained();
    assert_eq!(drained.json()["edges"].as_array().unwrap().len(), 3);
    fleet.call("DELETE", &path, "").await.expect_status(200);
    instance
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_lose_no_request_and_none_comes_after_a_drain() {
    let mut fleet = Fleet::start().await;
    let route = format!("/v1/routes/{HOST}?wait=8s");
    fleet
        .call("PUT", &route, r#"{"app":"shop"}"#)
        .await
        .expect_status(200);
    let mut running = roll_out(&fleet, 0).await;
    let clients = Clients::start(&fleet.addrs(), HOST);
    let mut stopped = Vec::new();
    for version in 1..=deploys() {
        let new = roll_out(&fleet, version).await;
        if version == 1 {
            fleet.edges[1].reload();
        }
        let old = std::mem::replace(&mut running, new);
        let drained = old.into_iter().map(|instance| roll_in(&fleet, instance));
        stopped.extend(join_all(drained).await);
        clients.each_kind_goes_on().await;
    }
    let tally = clients.stop().await;
    eprintln!("kept, polls, uploads, WebSockets: {:?}", tally.done);
    assert_eq!(tally.failures, Vec::<String>::new());
    for instance in &stopped {
        assert_eq!(instance.late(), 0, "{} after its drain", instance.id);
    }
    let served: u64 = stopped.iter().map(Instance::served).sum();
    assert!(served > 0, "the old instances got no request at all");
    fleet.stop().await;
}

/// That both a wait and a drain name just this edge, and say that it is not done.
async fn names(fleet: &Fleet, edge: &str, instance: &Instance) {
    let path = "/v1/routes/other.example?wait=2s";
    let late = fleet.call("PUT", path, r#"{"app":"shop"}"#).await;
    late.expect_status(504);
    assert_eq!(lacking(&late.json()), [edge], "{}", late.text());
    let path = format!("/v1/apps/shop/instances/{}/drain?timeout=2s", instance.id);
    let late = fleet.call("POST", &path, "").await;
    late.expect_status(504);
    assert_eq!(lacking(&late.json()), [edge], "{}", late.text());
    let path = format!("/v1/apps/shop/instances/{}/draining", instance.id);
    fleet.call("DELETE", &path, "").await.expect_status(200);
}

fn lacking(problem: &Value) -> Vec<&str> {
    let items = problem["lacking"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["edge"].as_str().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_stopped_cut_off_or_killed_is_named_and_nothing_is_confirmed() {
    let mut fleet = Fleet::start().await;
    let instance = roll_out(&fleet, 0).await.remove(0);

    fleet.edges[0].pause();
    names(&fleet, &fleet.edges[0].name, &instance).await;
    fleet.edges[0].resume();
    fleet.all_live().await;

    fleet.edges[1].relay.cut();
    names(&fleet, &fleet.edges[1].name, &instance).await;
    fleet.edges[1].relay.mend();
    fleet.all_live().await;

    fleet.edges[2].kill().await;
    names(&fleet, &fleet.edges[2].name, &instance).await;
    // Its report expires, and it counts all the same.
    fleet.shows(&fleet.edges[2].name, "missing").await;
    names(&fleet, &fleet.edges[2].name, &instance).await;
    // Nobody but an operator says that it is gone.
    fleet
        .call(
            "DELETE",
            &format!("/v1/edges/{}?wait=8s", fleet.edges[2].name),
            "",
        )
        .await
        .expect_status(200);
    let path = format!("/v1/apps/shop/instances/{}/drain?timeout=8s", instance.id);
    fleet.call("POST", &path, "").await.expect_status(200);

    // One that quits says goodbye.
    fleet.edges[1].quit().await;
    fleet.is_gone(&fleet.edges[1].name).await;
    fleet.stop().await;
}

/// So long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
