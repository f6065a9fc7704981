use std::sync::atomic::Ordering;

use super::*;
use pointsman_memory::{Fake, Fault};
use pointsman_store::Condition;

const INSTANCE: &str = "/v1/apps/shop/instances/a";
const PATH: &str = "/v1/apps/shop/instances/a/draining";
const KEY: &str = "overrides/shop/a";

async fn state(api: &Api) -> Value {
    api.sync().await;
    let body = api.get("/v1/apps/shop").await.json();
    body["instances"][0]["state"].clone()
}

#[tokio::test(start_paused = true)]
async fn an_instance_is_drained_and_taken_back() {
    let api = Api::new();
    let body = r#"{"addr":"10.0.0.1:80","ttl":"10s"}"#;
    api.put(INSTANCE, body).await.revision();
    let put = api.put(PATH, "{}").await;
    let revision = put.revision();
    assert_eq!(put.header("location"), PATH);
    assert_eq!(put.header("etag"), format!("\"{revision}\""));
    assert_eq!(api.value(KEY).await, r#"{"draining":true}"#);
    assert_eq!(state(&api).await, "draining");
    assert_eq!(api.get("/v1/apps/shop").await.json()["live"], 0);
    // Neither a heartbeat nor a new weight undoes it.
    api.put(INSTANCE, body).await.revision();
    api.put(INSTANCE, r#"{"addr":"10.0.0.1:80","weight":7}"#)
        .await
        .revision();
    assert_eq!(state(&api).await, "draining");
    api.delete(PATH).await.revision();
    assert_eq!(state(&api).await, "live");
    api.delete(PATH).await.refused(404, "not_found");
}

#[tokio::test]
async fn draining_ends_when_the_instance_is_registered_again() {
    let api = Api::new();
    let body = r#"{"addr":"10.0.0.1:80"}"#;
    api.put(INSTANCE, body).await.revision();
    api.put(PATH, "").await.revision();
    api.delete(INSTANCE).await.revision();
    api.put(PATH, "").await.refused(404, "not_found");
    api.put(INSTANCE, body).await.revision();
    assert_eq!(state(&api).await, "live");
}

#[tokio::test]
async fn an_instance_that_restarts_at_that_moment_does_not_start_out_draining() {
    let fake = Arc::new(Fake::new(Fault::Replaces));
    fake.faulty.store(false, Ordering::Relaxed);
    let api = Api::with(fake.inner.clone(), fake.clone());
    api.put(INSTANCE, r#"{"addr":"10.0.0.1:80"}"#)
        .await
        .revision();
    fake.faulty.store(true, Ordering::Relaxed);
    api.put(PATH, "").await.refused(412, "precondition_failed");
    assert_eq!(api.stored(KEY).await, None);
    assert_eq!(state(&api).await, "live");
}

#[tokio::test(start_paused = true)]
async fn draining_hangs_on_the_lease_of_its_instance_whichever_it_is() {
    let api = Api::new();
    let ttl = |ttl: &str| format!(r#"{{"addr":"10.0.0.1:80","ttl":"{ttl}"}}"#);
    api.put(INSTANCE, &ttl("10s")).await.revision();
    api.put(PATH, "").await.revision();
    let found = "health/shop/a";
    let lease = async |key: &str| api.stored(key).await.map(|kv| kv.lease);
    let first = lease("instances/shop/a").await.unwrap();
    assert_eq!(lease(KEY).await, Some(first));
    let put = api
        .store
        .put(found, br#"{"up":false}"#, first, Condition::Always);
    put.await.unwrap();
    for body in [&ttl("60s"), r#"{"addr":"10.0.0.1:80"}"#, &ttl("20s")] {
        api.put(INSTANCE, body).await.revision();
        let now = lease("instances/shop/a").await;
        assert_eq!(lease(KEY).await, now, "{body}");
        assert_eq!(lease(found).await, now, "{body}");
        // The lease before it is over.
        tokio::time::sleep(Duration::from_secs(15)).await;
        api.put(INSTANCE, body).await.revision();
        assert_eq!(state(&api).await, "draining", "{body}");
    }
    tokio::time::sleep(Duration::from_secs(100)).await;
    let left = api.store.list(b"", 0, None).await.unwrap().items;
    let left: Vec<_> = left.iter().map(|kv| &*kv.key).collect();
    assert_eq!(left, ["actor"], "with the instance, all of it goes");
}

#[tokio::test(start_paused = true)]
async fn draining_is_deleted_together_with_its_instance() {
    let api = Api::new();
    for body in [
        r#"{"addr":"10.0.0.1:80"}"#,
        r#"{"addr":"10.0.0.1:80","ttl":"24h"}"#,
    ] {
        api.put(INSTANCE, body).await.revision();
        api.put(PATH, "").await.revision();
        let revision = api.delete(INSTANCE).await.revision();
        assert_eq!(api.stored(KEY).await, None, "{body}");
        assert_eq!(api.store.revision(), revision, "at the same revision");
    }
}

#[tokio::test]
async fn it_takes_conditions_as_all_else_and_no_field() {
    let api = Api::new();
    api.put(INSTANCE, r#"{"addr":"10.0.0.1:80"}"#)
        .await
        .revision();
    let call = async |method: &str, name: &str, value: &str| {
        api.call(method, PATH, &[(name, value)], "").await
    };
    call("PUT", "if-match", "*")
        .await
        .refused(412, "precondition_failed");
    let first = call("PUT", "if-none-match", "*").await.revision();
    call("PUT", "if-none-match", "*")
        .await
        .refused(412, "precondition_failed");
    let second = call("PUT", "if-match", &format!("\"{first}\""))
        .await
        .revision();
    call("DELETE", "if-match", &format!("\"{first}\""))
        .await
        .refused(412, "precondition_failed");
    for (body, code) in [
        (r#"{"draining":true}"#, "unknown_field"),
        ("true", "bad_json"),
    ] {
        api.put(PATH, body).await.refused(400, code);
    }
    let plain = Request::put(PATH).body(Body::from("{}")).unwrap();
    api.send(plain).await.refused(415, "bad_content_type");
    assert_eq!(api.store.revision(), second, "nothing was written");
    let answer = api.get(PATH).await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), "PUT,DELETE");
    let bad = "/v1/apps/shop/instances/a+b/draining";
    api.put(bad, "").await.refused(400, "bad_id");
}

#[tokio::test]
async fn an_unhealthy_instance_is_shown_with_what_probes_found() {
    let api = Api::new();
    api.put(INSTANCE, r#"{"addr":"10.0.0.1:80"}"#)
        .await
        .revision();
    let found = r#"{"up":false,"reason":"status 503, not 200-399"}"#;
    api.store.commit(&[("health/shop/a", Some(found))]);
    assert_eq!(state(&api).await, "live", "the app has no health check");
    api.put("/v1/apps/shop", r#"{"health_check":{}}"#)
        .await
        .revision();
    assert_eq!(state(&api).await, "unhealthy");
    let body = api.get("/v1/apps/shop").await.json();
    assert_eq!(body["instances"][0]["reason"], "status 503, not 200-399");
    assert_eq!(body["live"], 0);
    api.put(PATH, "").await.revision();
    assert_eq!(
        state(&api).await,
        "draining",
        "an operator's word is shown first"
    );
}
