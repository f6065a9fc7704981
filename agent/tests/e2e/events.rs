//! Events of a whole Pointsman: who changed what, the same from each agent, also
//! from one that comes later.

use axum::http::Method;
use pointsman_client::{AgentClient, EventStream, FollowedEvent};
use pointsman_harness::services::Service as _;
use pointsman_harness::{http, wait};
use pointsman_wire::{ActorWord, EventItem, EventList, EventOp, EventsQuery};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::world::World;

impl World {
    fn client(&self, agent: usize) -> AgentClient {
        AgentClient::new(&format!("http://{}", self.agents[agent].admin())).unwrap()
    }

    /// All events that an agent has, once it has those of `revision`.
    async fn events(&self, agent: usize, revision: i64) -> EventList {
        let client = self.client(agent);
        let query = EventsQuery {
            since: Some(0),
            limit: Some(1000),
        };
        let mut found = None;
        wait::until("the agent has the events", PATIENCE, async || {
            let list = client.events(&query).await.map_err(|e| e.to_string())?;
            let last = list.events.last().map_or(0, |event| event.revision);
            found = Some(list);
            match last >= revision {
                true => Ok(()),
                false => Err(format!("it is at {last}")),
            }
        })
        .await
        .unwrap();
        found.unwrap()
    }
}

/// What the history alone tells: when nobody signed, agents say when they saw it.
fn history(list: &EventList) -> Vec<EventItem> {
    let events = list.events.iter().cloned();
    let events = events.map(|mut event| {
        if event.by == ActorWord::Etcd {
            event.at = None;
        }
        event
    });
    events.collect()
}

async fn next(stream: &mut EventStream) -> EventItem {
    match timeout(PATIENCE, stream.next()).await.unwrap().unwrap() {
        Some(FollowedEvent::Event(event)) => *event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_agent_tells_the_same_of_who_changed_what() {
    let mut world = World::start(2, 1).await;
    let registry = world.registry().await;
    let begun = registry.revision().await;
    let mut stream = world.client(1).follow_events(Some(begun)).await.unwrap();

    let path = "/v1/routes/shop.example";
    let admin = world.agents[0].admin();
    let mut put = http::request(
        Method::PUT,
        &admin.to_string(),
        path,
        Some(r#"{"app":"shop"}"#),
    )
    .unwrap();
    put.headers_mut()
        .insert("x-request-id", "r-1".parse().unwrap());
    let answer = http::send(admin, put).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    registry.put_route("direct.example", "shop").await;
    let lease = registry.grant(60).await;
    registry
        .put_leased("instances/shop/a", "10.0.0.1:80", lease)
        .await;
    registry.revoke(lease).await;
    let answer = world.api(Method::DELETE, path, &Value::Null).await;
    let last: Value = serde_json::from_slice(&answer.body).unwrap();
    let last = last["revision"].as_i64().unwrap();

    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|event: &EventItem| event.revision < last)
    {
        seen.push(next(&mut stream).await);
    }
    // When the edge is first heard is its own affair.
    let ours = seen.iter().filter(|event| event.kind != "edge");
    let shown = ours.map(|event| {
        let (op, by, request) = (event.op.as_str(), event.by.as_str(), &event.request);
        let request = request.as_deref().filter(|request| *request == "r-1");
        (op, &*event.kind, &*event.name, by, request)
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("put", "route", "shop.example", "api", Some("r-1")),
            ("put", "route", "direct.example", "etcd", None),
            ("put", "instance", "shop/a", "etcd", None),
            ("expired", "instance", "shop/a", "etcd", None),
            ("delete", "route", "shop.example", "api", None),
        ]
    );
    let caller = seen[0].caller.as_deref().unwrap();
    assert!(caller.starts_with("127.0.0.1:"), "{caller}");
    assert_eq!(seen[0].agent.as_deref(), Some("agent-1"));
    assert_eq!(seen[3].before.as_ref().unwrap()["addr"], "10.0.0.1:80");
    let rules = json!({ "rules": [{ "path": "/", "to": [{ "app": "shop" }] }] });
    assert_eq!(seen[4].before, Some(rules));

    // A third agent has seen none of it.
    world.add_agent("agent-3");
    world.agents[2].ready().await.unwrap();
    let lists = [
        world.events(0, last).await,
        world.events(1, last).await,
        world.events(2, last).await,
    ];
    assert_eq!(history(&lists[0]), history(&lists[1]));
    assert_eq!(history(&lists[0]), history(&lists[2]));
    let edge = lists[0]
        .events
        .iter()
        .find(|event| event.kind == "edge")
        .unwrap();
    assert_eq!((edge.by, edge.op), (ActorWord::Agent, EventOp::Put));

    // An agent that stops ends its streams, and is not held up by them.
    let admin = &mut world.agents[1];
    let stopped = admin.process().stop(PATIENCE).await;
    assert!(stopped.success(), "{stopped}");
    let end = timeout(PATIENCE, stream.next()).await.unwrap();
    assert!(matches!(end, Ok(None)), "{end:?}");
}

#[tokio::test]
async fn what_etcd_has_compacted_is_told_to_be_missing() {
    let mut world = World::start(1, 1).await;
    let registry = world.registry().await;
    for n in 0..20 {
        registry.put_route(&format!("{n}.example"), "shop").await;
    }
    let kept = registry.put_route("kept.example", "shop").await;
    registry.compact(kept).await.unwrap();
    let last = registry.put_route("last.example", "shop").await;
    // One that was there all along has all of it.
    assert_eq!(world.events(0, last).await.from, 1);
    world.agents[0].process().kill().await;
    world.agents[0].process().respawn().await.unwrap();
    world.agents[0].ready().await.unwrap();
    let list = world.events(0, last).await;
    assert_eq!(list.from, kept);
    let names: Vec<_> = list.events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["kept.example", "last.example"]);
    let mut stream = world.client(0).follow_events(Some(2)).await.unwrap();
    let gap = timeout(PATIENCE, stream.next()).await.unwrap().unwrap();
    assert_eq!(gap, Some(FollowedEvent::Gap(kept)));
    assert_eq!(next(&mut stream).await.name, "kept.example");
}
