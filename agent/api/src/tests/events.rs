//! `/v1/events`, as a list and as a stream.

use http_body_util::BodyExt as _;

use super::*;

/// An API whose agent follows the events of the registry `e`.
async fn api() -> Api {
    let mut api = Api::new();
    api.store.commit(&[("epoch", Some("e"))]);
    let follower = api.event_follower.take().unwrap();
    tokio::spawn(follower.run(CancellationToken::new()));
    api.settle_events().await;
    api
}

impl Api {
    /// Waits until the agent follows the events, and has all of them.
    pub(super) async fn settle_events(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.get("/v1/events").await.status == 200 {
                return;
            }
        }
    }

    async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> Stream {
        let mut request = Request::builder().uri(path).header("host", "agent");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.header("accept", "text/event-stream");
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream(response.into_body())
    }
}

struct Stream(Body);

impl Stream {
    /// The next piece: an event is one.
    async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    /// The id of the next event, and its data.
    async fn event(&mut self) -> (Option<i64>, Value) {
        let text = self.next().await.unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let data = field("data: ").unwrap_or_else(|| panic!("{text:?}"));
        (
            field("id: ").map(|id| id.parse().unwrap()),
            serde_json::from_str(data).unwrap(),
        )
    }
}

#[tokio::test(start_paused = true)]
async fn each_write_says_who_calls() {
    let api = api().await;
    let headers = [("x-request-id", "r-1")];
    let body = r#"{"app":"shop"}"#;
    let put = api.call("PUT", "/v1/routes/a.test", &headers, body).await;
    assert_eq!(put.revision(), 3);
    // These go on in a task of their own.
    let path = "/v1/apps/shop/instances/1";
    let body = r#"{"addr":"10.0.0.1:80","ttl":"30s"}"#;
    api.call("PUT", path, &headers, body).await.revision();
    let draining = format!("{path}/draining");
    api.call("PUT", &draining, &headers, "{}").await.revision();
    api.call("DELETE", path, &headers, "").await.revision();
    api.store
        .commit(&[("apps/shop", Some("{")), ("edges/edge-1", Some("{}"))]);
    api.settle_events().await;
    let list = api.get("/v1/events").await.json();
    let events = list["events"].as_array().unwrap();
    let shown = events.iter().map(|event| {
        let text = |name: &str| event[name].as_str().unwrap_or("-");
        let [by, agent, request] = ["by", "agent", "request"].map(text);
        let [op, kind, name] = ["op", "kind", "name"].map(text);
        format!(
            "{} {op} {kind} {name} {by} {agent} {request}",
            event["revision"]
        )
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            "3 put route a.test api agent-1 r-1",
            "4 put instance shop/1 api agent-1 r-1",
            "5 put override shop/1 api agent-1 r-1",
            "6 delete instance shop/1 api agent-1 r-1",
            "6 delete override shop/1 api agent-1 r-1",
            "7 put app shop etcd - -",
            "7 put edge edge-1 etcd - -",
        ]
    );
    assert_eq!((&list["from"], &list["more"]), (&json!(1), &json!(false)));
    let rules = json!({ "rules": [{ "path": "/", "to": [{ "app": "shop" }] }] });
    assert_eq!(events[0]["value"], rules);
    assert_eq!(events[0]["before"], Value::Null);
    assert_eq!(events[3]["before"]["addr"], "10.0.0.1:80");
    assert_eq!(events[3]["value"], Value::Null);
    assert_eq!(events[5]["value"]["bad"]["code"], "bad_json");
    let times = events
        .iter()
        .map(|event| event["at"].as_str().unwrap_or_default());
    assert!(
        times
            .into_iter()
            .all(|at| at.ends_with('Z') && at.contains('T'))
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_page_by_page() {
    let api = api().await;
    for n in 0..5 {
        api.put(&format!("/v1/routes/{n}.test"), r#"{"app":"shop"}"#)
            .await
            .revision();
    }
    api.settle_events().await;
    let revisions = async |query: &str| {
        let page = api.get(&format!("/v1/events{query}")).await.json();
        let events = page["events"].as_array().unwrap();
        let revisions = events
            .iter()
            .map(|event| event["revision"].as_i64().unwrap());
        (revisions.collect::<Vec<_>>(), page["more"] == true)
    };
    assert_eq!(revisions("?since=0&limit=2").await, (vec![3, 4], true));
    assert_eq!(revisions("?since=4&limit=3").await, (vec![5, 6, 7], false));
    assert_eq!(revisions("?since=7").await, (vec![], false));
    assert_eq!(revisions("?limit=2").await, (vec![6, 7], false));
    for query in [
        "?since=-1",
        "?since=x",
        "?limit=0",
        "?limit=1001",
        "?other=1",
    ] {
        api.get(&format!("/v1/events{query}"))
            .await
            .refused(400, "bad_query");
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_has_not_read_them_says_so() {
    let api = Api::new();
    // It waits for them, but not for ever.
    api.get("/v1/events").await.refused(503, "not_ready");
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_and_comes_back_where_it_was() {
    let api = api().await;
    let writes = ["a", "b", "c"].map(|name| format!("routes/{name}.test"));
    let writes = writes
        .each_ref()
        .map(|key| (&**key, Some(r#"{"app":"x"}"#)));
    api.store.commit(&writes);
    api.settle_events().await;
    let mut stream = api.stream("/v1/events?since=0", &[]).await;
    // All of a revision comes again, so only its last event has an id.
    let ids = [
        stream.event().await.0,
        stream.event().await.0,
        stream.event().await.0,
    ];
    assert_eq!(ids, [None, None, Some(3)]);
    // Later on, only what is new.
    let mut new = api.stream("/v1/events", &[]).await;
    api.put("/v1/routes/d.test", r#"{"app":"x"}"#)
        .await
        .revision();
    for stream in [&mut stream, &mut new] {
        let (id, event) = stream.event().await;
        assert_eq!((id, &event["name"]), (Some(4), &json!("d.test")));
    }
    let last = [("last-event-id", "3")];
    let mut back = api.stream("/v1/events?since=0", &last).await;
    assert_eq!(back.event().await.0, Some(4));
    // A sign of life while nothing happens, and an end when the agent stops.
    assert_eq!(back.next().await.as_deref(), Some(":\n\n"));
    api.stop.cancel();
    assert_eq!(back.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_stream_tells_of_what_is_missing() {
    let mut api = Api::new();
    api.store.commit(&[("epoch", Some("e"))]);
    for n in 0..5 {
        api.store
            .commit(&[(&format!("routes/{n}.test"), Some("{}"))]);
    }
    api.store.compact(6);
    let follower = api.event_follower.take().unwrap();
    tokio::spawn(follower.run(CancellationToken::new()));
    while api.get("/v1/events").await.json()["from"] != 6 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut stream = api.stream("/v1/events?since=3", &[]).await;
    let gap = stream.next().await.unwrap();
    assert_eq!(gap, "event: gap\ndata: {\"from\":6}\n\n");
    assert_eq!(stream.event().await.0, Some(6));
    let mut stream = api.stream("/v1/events?since=5", &[]).await;
    assert_eq!(stream.event().await.0, Some(6), "nothing is missing");
    // The registry is another one now, and its revisions are lower.
    api.store.wipe();
    api.store.commit(&[("epoch", Some("other"))]);
    assert_eq!(stream.event().await.0, Some(7));
    let gap = stream.next().await.unwrap();
    assert_eq!(gap, "event: gap\ndata: {\"from\":1}\n\n");
    api.store.commit(&[("routes/new.test", Some("{}"))]);
    assert_eq!(stream.event().await.0, Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_understood_is_refused() {
    let api = api().await;
    let accept = ("accept", "text/event-stream");
    for (query, headers) in [
        ("?limit=1", vec![accept]),
        ("?since=-1", vec![accept]),
        ("", vec![accept, ("last-event-id", "x")]),
    ] {
        let path = format!("/v1/events{query}");
        let answer = api.call("GET", &path, &headers, "").await;
        answer.refused(400, "bad_query");
    }
}
