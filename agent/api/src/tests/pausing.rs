use std::sync::atomic::Ordering;

use super::*;
use pointsman_memory::{Fake, Fault};

const ROUTE: &str = "/v1/routes/shop.example";
const PATH: &str = "/v1/routes/shop.example/pause";
const KEY: &str = "pauses/shop.example";

async fn bound() -> Api {
    let api = Api::new();
    api.put(ROUTE, r#"{"app":"shop"}"#).await.revision();
    api
}

async fn record(api: &Api) -> Value {
    api.sync().await;
    let table = api.table.read().unwrap();
    let element = pointsman_model::Element::Route("shop.example".into());
    match table.held(&element) {
        pointsman_mirror::table::Held::Value(text) => serde_json::from_str(&text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_route_is_paused_for_so_long_and_resumed() {
    let api = bound().await;
    let put = api.put(&format!("{PATH}?for=90s&max=7"), "").await;
    let revision = put.revision();
    assert_eq!(put.header("location"), PATH);
    assert_eq!(put.header("etag"), format!("\"{revision}\""));
    assert_eq!(record(&api).await["pause"], json!({ "max": 7 }));
    let get = api.get(ROUTE).await;
    assert_eq!(get.json()["pause"], json!({ "max": 7, "left": "90s" }));
    assert_eq!(get.header("cache-control"), "no-store");
    // The pause moves no revision of the route, so nobody is told 304.
    let tag = get.header("etag").to_owned();
    let again = api.call("GET", ROUTE, &[("if-none-match", &tag)], "").await;
    assert_eq!(again.status, 200);
    assert!(api.delete(PATH).await.revision() > revision);
    assert_eq!(api.get(ROUTE).await.json().get("pause"), None);
    assert_eq!(record(&api).await.get("pause"), None);
    api.delete(PATH).await.refused(404, "not_found");
    // Without a word it is 30 s and 1,000 requests, and etcd ends it.
    api.put(PATH, "{}").await.revision();
    let pause = api.get(ROUTE).await.json()["pause"].clone();
    assert_eq!(pause, json!({ "max": 1000, "left": "30s" }));
    tokio::time::advance(Duration::from_secs(31)).await;
    assert_eq!(api.get(ROUTE).await.json().get("pause"), None);
    assert_eq!(record(&api).await.get("pause"), None);
}

#[tokio::test(start_paused = true)]
async fn no_lease_is_left_behind() {
    let fake = Arc::new(Fake::new(Fault::Swallows));
    fake.faulty.store(false, Ordering::Relaxed);
    let api = Api::with(fake.inner.clone(), fake.clone());
    let leases = || fake.leases.load(Ordering::Relaxed);
    api.put(PATH, "").await.refused(404, "not_found");
    assert_eq!(leases(), 0, "nothing was paused");
    api.put(ROUTE, r#"{"app":"shop"}"#).await.revision();
    api.put(PATH, "").await.revision();
    api.put(&format!("{PATH}?for=60s"), "").await.revision();
    assert_eq!(leases(), 1, "the second pause takes the place of the first");
    assert_eq!(api.get(ROUTE).await.json()["pause"]["left"], "60s");
    let put = api.call("PUT", PATH, &[("if-none-match", "*")], "").await;
    put.refused(412, "precondition_failed");
    assert_eq!(leases(), 1, "it was refused");
    api.delete(PATH).await.revision();
    assert_eq!(leases(), 0, "resumed");
    api.put(PATH, "").await.revision();
    api.delete(ROUTE).await.revision();
    assert_eq!((leases(), api.stored(KEY).await), (0, None), "unbound");
}

#[tokio::test]
async fn an_unknown_route_or_a_bad_query_pauses_nothing() {
    let api = bound().await;
    let other = api.put("/v1/routes/other.example/pause", "").await;
    assert!(other.refused(404, "not_found").text.contains("bound"));
    for (query, field) in [
        ("for=0s", "for"),
        ("for=61m", "for"),
        ("for=1500ms", "for"),
        ("for=soon", "for"),
        ("max=0", "max"),
        ("max=100001", "max"),
    ] {
        let answer = api.put(&format!("{PATH}?{query}"), "").await;
        let body = answer.refused(400, "bad_query").json();
        assert_eq!(body["field"], field, "{body}");
    }
    for query in ["max=few", "fro=30s", "wait=11m"] {
        let answer = api.put(&format!("{PATH}?{query}"), "").await;
        answer.refused(400, "bad_query");
    }
    assert_eq!(api.stored(KEY).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_pause_may_wait_for_the_edges() {
    let mut api = bound().await;
    tokio::spawn(api.follower.take().unwrap().run(CancellationToken::new()));
    api.store
        .commit(&[("epoch", Some("e")), ("edges/edge-1", Some("{}"))]);
    api.sync().await;
    api.reports.report_of("e", "edge-1", 1, "{}");
    api.settle().await;
    let answer = api.put(&format!("{PATH}?wait=1s"), "").await;
    let body = answer.refused(504, "not_live").json();
    assert_eq!(body["lacking"][0]["edge"], "edge-1");
    assert!(api.stored(KEY).await.is_some(), "it is paused all the same");
}
