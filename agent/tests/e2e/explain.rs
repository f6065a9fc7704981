//! Explain: a real edge's own answer, beside what the agent's table has.

use std::collections::BTreeSet;

use axum::http::Method;
use pointsman_client::AgentClient;
use pointsman_harness::services::Service as _;
use pointsman_harness::upstreams::Upstreams;
use pointsman_harness::wait;
use pointsman_wire::{ExplainAnswer, ExplainQuery, InstanceWord};
use serde_json::{Value, json};

use crate::support::PATIENCE;
use crate::support::world::World;

impl World {
    async fn explained(&self, url: &str, header: &[&str]) -> ExplainAnswer {
        let admin = self.agents[0].admin();
        let client = AgentClient::new(&format!("http://{admin}")).unwrap();
        let query = ExplainQuery {
            url: url.to_owned(),
            header: header.iter().map(|&header| header.to_owned()).collect(),
            ..ExplainQuery::default()
        };
        client.explain(&query).await.unwrap()
    }

    /// Waits until edge and agent agree about a request.
    async fn agrees(&self, url: &str, header: &[&str]) -> ExplainAnswer {
        let mut found = None;
        wait::until("edge and agent agree", PATIENCE, async || {
            let answer = self.explained(url, header).await;
            let differences = answer.differences.join("; ");
            let agrees = answer.edges.len() == 1 && differences.is_empty();
            found = Some(answer);
            if agrees { Ok(()) } else { Err(differences) }
        })
        .await
        .unwrap();
        found.unwrap()
    }
}

/// The example of the documentation.
fn documented() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    let docs = std::fs::read_to_string(path).unwrap();
    let (_, example) = docs.split_once("/v1/explain?url=http").unwrap();
    let (_, answer) = example.split_once('\n').unwrap();
    let (answer, _) = answer.split_once("\n```").unwrap();
    serde_json::from_str(answer).unwrap()
}

fn fields(value: &Value) -> BTreeSet<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(|key| &**key)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_and_the_agent_explain_a_request() {
    let mut world = World::start(1, 1).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    let rules = json!({ "rules": [
        {
            "path": "/",
            "when": [{ "header": "X-Side", "exact": "blue" }],
            "to": [{ "app": "blue" }],
        },
        { "path": "/", "to": [{ "app": "shop" }] },
    ] });
    let bound = world
        .api(Method::PUT, "/v1/routes/*.shop.test", &rules)
        .await;
    assert!(bound.status.is_success(), "{}", bound.text());
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    registry.put_instance("shop", "b", upstreams.addrs[1]).await;
    registry.put_instance("blue", "c", upstreams.addrs[1]).await;
    // The younger one has the address.
    let url = "http://www.shop.test/cart?id=1";
    let answer = world.agrees(url, &[]).await;
    assert_eq!(answer.route.as_deref(), Some("*.shop.test"));
    assert_eq!(answer.app.as_deref(), Some("shop"));
    let states: Vec<_> = answer.instances.iter().map(|i| i.item.state).collect();
    assert_eq!(states, [InstanceWord::Live, InstanceWord::Shadowed]);
    let edge = answer.edges[0].answer.as_ref().unwrap();
    assert_eq!(edge["app"], "shop");
    assert_eq!(edge["next"], "a");
    for field in fields(&documented()["edges"][0]["answer"]) {
        assert!(fields(edge).contains(field), "{field} is not in {edge}");
    }
    // With the header, the other rule.
    let answer = world.agrees(url, &["X-Side: blue"]).await;
    assert_eq!(answer.app.as_deref(), Some("blue"));
    let edge = answer.edges[0].answer.as_ref().unwrap();
    assert_eq!(edge["next"], "c");

    // An edge that does not go on is named, and nothing waits for it for long.
    world.nginx.process().pause();
    let begun = std::time::Instant::now();
    let answer = world.explained(url, &[]).await;
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    world.nginx.process().resume();
    assert_eq!(answer.app, None, "no edge says which rule matches");
    assert_eq!(answer.instances.len(), 3);
    let difference = answer.differences.join("; ");
    assert!(
        difference.ends_with("gave no answer: none within 2s"),
        "{difference}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_that_is_cut_off_differs_from_the_agent() {
    let mut world = World::start(1, 1).await;
    let upstreams = Upstreams::start(2).await;
    let registry = world.registry().await;
    registry.put_route("shop.test", "shop").await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    world.settles_at("shop.test", 200, None).await;
    let url = "http://shop.test/";
    world.agrees(url, &[]).await;
    world.redis.process().pause();
    let revision = registry.put_instance("shop", "b", upstreams.addrs[1]).await;
    let mut found = Vec::new();
    wait::until("the difference shows", PATIENCE, async || {
        let answer = world.explained(url, &[]).await;
        found = answer.differences;
        match answer.revision >= revision {
            true => Ok(()),
            false => Err(found.join("; ")),
        }
    })
    .await
    .unwrap();
    world.redis.process().resume();
    let edge = &found[0];
    assert!(
        edge.contains(" is behind: it has applied revision "),
        "{found:?}"
    );
    assert!(found[1].ends_with(" lacks b of the app shop"), "{found:?}");
}
