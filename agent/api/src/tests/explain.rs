//! `/v1/explain`: what the agent's table has, and what no edge is asked.

use super::*;

/// An API with routes and instances, and an edge that has never reported.
async fn api() -> Api {
    let mut api = Api::new();
    let follower = api.follower.take().unwrap();
    tokio::spawn(follower.run(CancellationToken::new()));
    let rules = r#"{"rules":[{"path":"/x","to":[{"app":"blog"}]},{"to":[{"app":"shop"}]}]}"#;
    api.store.commit(&[
        ("epoch", Some("e")),
        ("edges/edge-1", Some("{}")),
        ("routes/*.shop.test", Some(r#"{"app":"shop"}"#)),
        ("routes/two.shop.test", Some(rules)),
        ("routes/bad.test", Some("{")),
        ("instances/shop/a", Some("10.0.0.1:80")),
        ("instances/blog/c", Some("10.0.0.3:80")),
    ]);
    api.store.commit(&[
        ("instances/news/b", Some("10.0.0.1:80")),
        ("overrides/shop/a", Some(r#"{"draining":true}"#)),
    ]);
    api.sync().await;
    api.settle().await;
    api
}

impl Api {
    async fn explained(&self, url: &str) -> Value {
        let answer = self.get(&format!("/v1/explain?url={url}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }
}

#[tokio::test(start_paused = true)]
async fn the_agent_tells_what_its_own_table_has() {
    let api = api().await;
    let found = api.explained("http://WWW.Shop.test:8080/cart%3Fid=1").await;
    assert_eq!(found["host"], "www.shop.test");
    assert_eq!(found["route"], "*.shop.test");
    assert_eq!(
        (&found["route_revision"], &found["revision"]),
        (&json!(2), &json!(3))
    );
    assert_eq!(found["app"], "shop");
    let instances = found["instances"].as_array().unwrap();
    assert_eq!(instances.len(), 1);
    assert_eq!(instances[0]["id"], "a");
    assert_eq!(instances[0]["state"], "shadowed");
    assert_eq!(instances[0]["shadowed_by"]["app"], "news");
    let error = "no report of it was ever read";
    let edge = json!({ "edge": "edge-1", "answer": null, "error": error });
    assert_eq!(found["edges"], json!([edge]));
    let difference = format!("edge-1 cannot be asked: {error}");
    assert_eq!(found["differences"], json!([difference]));
}

#[tokio::test(start_paused = true)]
async fn a_route_to_several_apps_shows_the_instances_of_all() {
    let found = api().await.explained("https://two.shop.test/x").await;
    assert_eq!(
        (&found["route"], &found["app"]),
        (&json!("two.shop.test"), &Value::Null)
    );
    let instances = found["instances"].as_array().unwrap().iter();
    let apps: Vec<_> = instances.map(|i| i["app"].as_str().unwrap()).collect();
    assert_eq!(apps, ["blog", "shop"]);
}

#[tokio::test(start_paused = true)]
async fn no_route_and_a_bad_one_are_told() {
    let api = api().await;
    let found = api.explained("http://other.test").await;
    assert_eq!(
        (&found["route"], &found["instances"]),
        (&Value::Null, &json!([]))
    );
    let found = api.explained("http://bad.test/").await;
    assert_eq!(found["route"], "bad.test");
    let first = found["differences"][0].as_str().unwrap();
    assert!(
        first.starts_with("the route's value in etcd is bad"),
        "{first}"
    );
    // A wildcard is no host, and an address has no parents.
    api.store
        .commit(&[("routes/*.0.0.1", Some(r#"{"app":"shop"}"#))]);
    api.sync().await;
    let found = api.explained("http://127.0.0.1/").await;
    assert_eq!(found["route"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_none_is_refused() {
    let api = api().await;
    for query in [
        "",
        "?url=/cart",
        "?url=ftp://shop.test/",
        "?url=http://a.test/&url=http://b.test/",
        "?url=http://a.test/&method=G%20T",
        "?url=http://a.test/&method=GET&method=GET",
        "?url=http://a.test/&header=X-User",
        "?url=http://a.test/&header=X%20User:%201",
        "?url=http://a.test/&header=A:%201%0d%0aB:%202",
        "?url=http://a.test/&client=10.0.0.1:80",
        "?url=http://a.test/&body=x",
    ] {
        let answer = api.get(&format!("/v1/explain{query}")).await;
        answer.refused(400, "bad_query");
    }
    let new = Api::new();
    let answer = new.get("/v1/explain?url=http://a.test/").await;
    answer.refused(503, "not_ready");
}
