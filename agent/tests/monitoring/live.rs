//! A live stack: what its metrics say, and which alerts fire while parts of it
//! are missing.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::http::{Method, StatusCode};
use pointsman_harness::services::Service as _;
use pointsman_harness::upstreams::Upstreams;
use pointsman_harness::{http, wait};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::prometheus::{Prometheus, check_metrics, is_left_out};
use crate::support::PATIENCE;
use crate::support::world::World;

/// A report expires after 10 s, and Prometheus looks back for as long as rates
/// reach.
const LONG: Duration = Duration::from_secs(60);
/// `$__rate_interval`, the other variables of the dashboard, and what Grafana
/// would put there.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "30s"), ("$edge", ".*"), ("$app", ".*")];

/// Requests to each host, and changes, for as long as it lives.
fn traffic(world: &World, hosts: &'static [&'static str]) -> JoinSet<()> {
    let (edge, admin) = (world.nginx.edge(), world.agents[0].admin());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut turns = tokio::time::interval(Duration::from_millis(100));
        for number in 0.. {
            turns.tick().await;
            for host in hosts {
                // What is missing meanwhile fails; what that shows is looked at.
                let _answer = http::get(edge, host, "/").await;
            }
            let body = json!({ "app": format!("app-{number}") }).to_string();
            let put = http::send_json(admin, Method::PUT, "/v1/routes/busy.example", &body);
            let _answer = put.await;
        }
    });
    tasks
}

async fn world() -> (World, Upstreams, JoinSet<()>) {
    let world = World::start(2, 1).await;
    let (upstreams, mut servers) = (Upstreams::start(1).await, JoinSet::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broken = listener.local_addr().unwrap();
    let router = Router::new().fallback(async || StatusCode::INTERNAL_SERVER_ERROR);
    servers.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_instance("broken", "a", broken).await;
    for app in ["shop", "broken", "empty"] {
        registry.put_route(&format!("{app}.example"), app).await;
    }
    world.settles_at("shop.example", 200, None).await;
    world.settles_at("broken.example", 500, None).await;
    (world, upstreams, servers)
}

/// The expressions of the dashboard's panels.
fn expressions() -> BTreeSet<String> {
    let dashboard: Value = serde_json::from_str(&crate::read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let all = targets.map(|target| {
        let expr = target["expr"].as_str().unwrap().to_owned();
        VARIABLES
            .iter()
            .fold(expr, |expr, (name, value)| expr.replace(name, value))
    });
    all.collect()
}

/// Waits until an alert fires about just these: the values of a label.
async fn fires(prometheus: &Prometheus, alert: &str, label: &str, expected: &[&str]) {
    let expected = BTreeSet::from_iter(expected.iter().map(ToString::to_string));
    let what = format!("{alert} fires about {expected:?}");
    wait::until(&what, LONG, async || {
        let firing = prometheus.firing().await;
        let about = firing.iter().filter(|(name, _)| name == alert);
        let about: BTreeSet<_> = about.map(|(_, labels)| labels[label].clone()).collect();
        if about == expected {
            return Ok(());
        }
        Err(format!("{firing:?}"))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dashboard_has_data_and_alerts_fire_when_provoked() {
    if is_left_out() {
        return;
    }
    let (mut world, _upstreams, _servers) = world().await;
    let status = world.nginx.status();
    let admins: Vec<_> = world.agents.iter().map(|agent| agent.admin()).collect();
    let prometheus = Prometheus::start(&world.sandbox, status, &admins).await;
    let edges = world.api(Method::GET, "/v1/edges", &Value::Null).await;
    let edges: Value = serde_json::from_slice(&edges.body).unwrap();
    let name = edges["edges"][0]["edge"].as_str().unwrap().to_owned();
    let page = http::get(status, "localhost", "/pointsman/metrics").await;
    check_metrics(&page.unwrap().body).await;

    let healthy = traffic(&world, &["shop.example", "unknown.example"]);
    let expressions = expressions();
    assert!(expressions.len() > 30, "{expressions:?}");
    wait::until(
        "each query of the dashboard has data",
        PATIENCE,
        async || {
            for expr in &expressions {
                let values = prometheus.query(expr).await;
                if !values.iter().any(|value| value.is_finite()) {
                    return Err(format!("{expr}: {values:?}"));
                }
            }
            Ok(())
        },
    )
    .await
    .unwrap();
    // Both jobs are read whole, by Prometheus's own parsers.
    assert_eq!(prometheus.query("sum(up)").await, [3.0]);
    // Here alerts do not wait, so one may fire for a moment.
    wait::until("no alert fires", PATIENCE, async || {
        let firing = prometheus.firing().await;
        match firing.is_empty() {
            true => Ok(()),
            false => Err(format!("{firing:?}")),
        }
    })
    .await
    .unwrap();
    drop(healthy);

    let failing = traffic(&world, &["shop.example", "broken.example", "empty.example"]);
    let (ratio, none) = ("PointsmanErrorRatio", "PointsmanAppWithoutInstances");
    fires(&prometheus, ratio, "app", &["broken", "empty"]).await;
    fires(&prometheus, none, "app", &["empty"]).await;
    drop(failing);

    let [one, other] = [0, 1].map(|number: usize| admins[number].to_string());
    let (edge, redis) = (status.to_string(), "PointsmanRedisUnavailable");
    world.redis.process().kill().await;
    fires(&prometheus, redis, "instance", &[&edge, &one, &other]).await;
    world.redis.process().respawn().await.unwrap();
    fires(&prometheus, redis, "instance", &[]).await;

    world.agents[1].process().kill().await;
    fires(&prometheus, "PointsmanAgentDown", "instance", &[&other]).await;

    world.nginx.process().kill().await;
    fires(&prometheus, "PointsmanEdgeDown", "instance", &[&edge]).await;
    fires(&prometheus, "PointsmanEdgeMissing", "edge", &[&name]).await;

    world.etcd.process().kill().await;
    fires(&prometheus, "PointsmanEtcdUnavailable", "instance", &[&one]).await;
    prometheus.stop().await;
}
