//! Deploys by the script `bench/deploy`, on three edges of two workers each:
//! nobody may notice. And what an edge that is stopped, killed or cut off does to
//! them.
//!
//! `POINTSMAN_DEPLOYS` says how many deploys (2).

#![allow(clippy::print_stderr, reason = "a failed test shows its logs")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod app;
mod clients;
mod fleet;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

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

async fn start_instances(version: usize) -> Vec<Instance> {
    let ids = (0..INSTANCES).map(|number| format!("v{version}-{number}"));
    join_all(ids.map(|id| async move { Instance::start(&id).await })).await
}

/// Registers instances, live everywhere when this returns.
async fn register(fleet: &Fleet, instances: &[Instance]) {
    for instance in instances {
        let path = format!("/v1/apps/shop/instances/{}?wait=8s", instance.id);
        let body = format!(r#"{{"addr":"{}"}}"#, instance.addr);
        fleet.call("PUT", &path, &body).await.expect_status(200);
    }
}

/// Has the script replace instances; each old one is told as soon as the script
/// says that it is drained.
async fn deploy(fleet: &Fleet, old: &[Instance], new: &[Instance]) {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut script = Command::new(top.join("bench/deploy"))
        .arg("shop")
        .args(
            new.iter()
                .map(|instance| format!("{}={}", instance.id, instance.addr)),
        )
        .env("POINTSMAN_API", fleet.api())
        .env("POINTSMAN", pointsman_harness::pointsman())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(script.stdout.take().unwrap()).lines();
    let mut drained = 0;
    while let Some(line) = lines.next_line().await.unwrap() {
        let id = line.strip_prefix("drained ").unwrap();
        let instance = old.iter().find(|instance| instance.id == id);
        instance
            .unwrap_or_else(|| panic!("{id} is none of the old ones"))
            .is_drained();
        drained += 1;
    }
    let status = script.wait().await.unwrap();
    assert!(status.success(), "{status}");
    assert_eq!(drained, old.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deploys_lose_no_request_and_none_comes_after_a_drain() {
    let mut fleet = Fleet::start().await;
    let route = format!("/v1/routes/{HOST}?wait=8s");
    fleet
        .call("PUT", &route, r#"{"app":"shop"}"#)
        .await
        .expect_status(200);
    let mut running = start_instances(0).await;
    register(&fleet, &running).await;
    let clients = Clients::start(&fleet.addrs(), HOST);
    let mut stopped = Vec::new();
    for version in 1..=deploys() {
        let new = start_instances(version).await;
        if version == 1 {
            fleet.edges[1].reload();
        }
        let begin = Instant::now();
        deploy(&fleet, &running, &new).await;
        eprintln!("deploy {version}: {:.1} s", begin.elapsed().as_secs_f64());
        stopped.extend(std::mem::replace(&mut running, new));
        clients.each_kind_goes_on().await;
    }
    let tally = clients.stop().await;
    let sum = |of: fn(&app::Instance) -> u64| stopped.iter().map(of).sum::<u64>();
    eprintln!(
        "requests over kept connections, long polls, uploads, WebSockets: {:?}; failed: {}; \
         under way at an instance when its drain was confirmed: {}, after that: {}",
        tally.done,
        tally.failures.len(),
        sum(Instance::broken),
        sum(Instance::late),
    );
    assert_eq!(tally.failures, Vec::<String>::new());
    for instance in &stopped {
        let (id, unfit) = (&instance.id, [instance.broken(), instance.late()]);
        assert_eq!(unfit, [0, 0], "under way at {id}, after its drain");
        assert!(instance.served() > 0, "{id} got no request at all");
    }
    fleet.stop().await;
}

/// That a wait, a write that waits and a drain name just these edges, and say
/// that it is not done.
async fn names(fleet: &Fleet, edges: &[usize], instance: &Instance) {
    let edges = edges
        .iter()
        .map(|number| fleet.edges[*number].name.as_str());
    let edges = edges.collect::<BTreeSet<_>>();
    let path = "/v1/routes/other.example?wait=1s";
    let late = fleet.call("PUT", path, r#"{"app":"shop"}"#).await;
    late.expect_status(504);
    assert_eq!(lacking(&late.json()), edges, "{}", late.text());
    let route = fleet
        .call("GET", "/v1/routes/other.example", "")
        .await
        .json();
    let path = format!("/v1/wait?revision={}&timeout=1s", route["revision"]);
    let late = fleet.call("GET", &path, "").await;
    late.expect_status(504);
    assert_eq!(lacking(&late.json()), edges, "{}", late.text());
    let path = format!("/v1/apps/shop/instances/{}/drain?timeout=1s", instance.id);
    let late = fleet.call("POST", &path, "").await;
    late.expect_status(504);
    assert_eq!(lacking(&late.json()), edges, "{}", late.text());
    let path = format!("/v1/apps/shop/instances/{}/draining", instance.id);
    fleet.call("DELETE", &path, "").await.expect_status(200);
}

fn lacking(problem: &Value) -> BTreeSet<&str> {
    let items = problem["lacking"].as_array().unwrap().iter();
    items.map(|item| item["edge"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_stopped_cut_off_or_killed_is_named_and_nothing_is_confirmed() {
    let mut fleet = Fleet::start().await;
    let instances = start_instances(0).await;
    register(&fleet, &instances).await;
    let instance = &instances[0];

    fleet.edges[0].pause();
    names(&fleet, &[0], instance).await;
    fleet.edges[0].resume();
    fleet.all_live().await;

    fleet.edges[1].relay.cut();
    names(&fleet, &[1], instance).await;
    fleet.edges[1].relay.mend();
    fleet.all_live().await;

    fleet.edges[2].kill().await;
    names(&fleet, &[2], instance).await;

    // Their reports expire, and they count all the same.
    fleet.edges[0].pause();
    fleet.edges[1].relay.cut();
    for edge in &fleet.edges {
        fleet.shows(&edge.name, "missing").await;
    }
    names(&fleet, &[0, 1, 2], instance).await;
    fleet.edges[0].resume();
    fleet.edges[1].relay.mend();
    for number in [0, 1] {
        fleet.shows(&fleet.edges[number].name, "live").await;
    }
    names(&fleet, &[2], instance).await;
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
