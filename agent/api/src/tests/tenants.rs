//! What a tenant's write cannot take from others, and what a write is warned of.

use super::*;
use crate::caller::IS_ADMIN;

const AT: &str = r#"{"addr":"10.0.0.1:80"}"#;

impl Api {
    async fn put_as_tenant(&self, path: &str, body: &str) -> Answer {
        IS_ADMIN.scope(false, self.put(path, body)).await
    }
}

fn warned(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let warnings = body["warnings"].as_array().cloned().unwrap_or_default();
    let codes = warnings.iter().map(|warning| {
        assert!(!warning["detail"].as_str().unwrap().is_empty());
        warning["code"].as_str().unwrap().to_owned()
    });
    codes.collect()
}

#[tokio::test]
async fn the_address_of_another_apps_live_instance_is_an_admins_to_take() {
    let api = Api::new();
    api.put("/v1/apps/a/instances/1", AT).await.revision();
    api.sync().await;
    let (_, before) = api.store.get("instances/a/1").await.unwrap();
    for body in [
        AT,
        r#"{"addr":"10.0.0.1:80","weight":0}"#,
        r#"{"addr":"10.0.0.1:80","shared":true}"#,
        r#"{"addr":"[::ffff:10.0.0.1]:80"}"#,
        r#"{"addr":"10.0.0.1:80","ttl":"30s"}"#,
    ] {
        let answer = api.put_as_tenant("/v1/apps/b/instances/1", body).await;
        answer.refused(409, "address_taken");
        assert_eq!(answer.json()["field"], "addr");
    }
    assert!(api.stored("instances/b/1").await.is_none());
    let (_, after) = api.store.get("instances/a/1").await.unwrap();
    assert_eq!(before, after, "nothing changes");
    // One's own is not another's.
    let own = api.put_as_tenant("/v1/apps/a/instances/2", AT).await;
    own.revision();
    api.delete("/v1/apps/a/instances/2").await.revision();

    let taken = api.put("/v1/apps/b/instances/1", AT).await;
    taken.revision();
    assert_eq!(warned(&taken), ["address_displaced"]);
    assert_eq!(taken.json()["displaced"], json!({"app": "a", "id": "1"}));
    let idle = r#"{"addr":"10.0.0.1:80","weight":0}"#;
    let idle = api.put("/v1/apps/c/instances/1", idle).await;
    assert_eq!(warned(&idle), ["address_shadowed"]);
    assert_eq!(idle.json()["displaced"], Value::Null);
}

#[tokio::test]
async fn the_address_of_a_draining_instance_is_free() {
    let api = Api::new();
    api.put("/v1/apps/a/instances/1", AT).await.revision();
    api.put("/v1/apps/a/instances/1/draining", "")
        .await
        .revision();
    api.sync().await;
    api.put_as_tenant("/v1/apps/b/instances/1", AT)
        .await
        .revision();
}

#[tokio::test]
async fn a_route_is_warned_of_what_it_has_to_do_with_others() {
    let api = Api::new();
    api.put("/v1/apps/a", "{}").await.revision();
    api.put("/v1/apps/b", "{}").await.revision();
    api.put("/v1/routes/*.example.com", r#"{"app":"a"}"#)
        .await
        .revision();
    api.put("/v1/routes/own.example.org", r#"{"app":"a"}"#)
        .await
        .revision();
    api.sync().await;
    for (host, app, codes) in [
        ("x.example.org", "a", &[][..]),
        ("x.example.org", "mistyped", &["app_unknown"]),
        ("x.example.com", "a", &[]),
        ("x.example.com", "b", &["wildcard_shadowed"]),
        ("*.example.com", "b", &["host_taken_over"]),
        ("*.example.com", "a", &[]),
        ("*.example.org", "b", &["route_shadowed"]),
        ("own.example.org", "b", &["host_taken_over"]),
    ] {
        let path = format!("/v1/routes/{host}?dry_run=true");
        let body = format!(r#"{{"app":"{app}"}}"#);
        let answer = api.put(&path, &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(warned(&answer), codes, "{host} to {app}");
    }
}

#[tokio::test]
async fn settings_that_take_out_more_than_half_must_be_forced() {
    let api = Api::new();
    for n in 1..=3 {
        let body = format!(r#"{{"addr":"10.0.{n}.1:80"}}"#);
        api.put(&format!("/v1/apps/a/instances/{n}"), &body)
            .await
            .revision();
    }
    api.sync().await;
    let wrong = r#"{"allowed_networks":["10.0.1.0/24"]}"#;
    let refused = api.put("/v1/settings", wrong).await;
    refused.refused(409, "needs_force");
    assert!(
        refused.json()["detail"]
            .as_str()
            .unwrap()
            .contains("2 of 3")
    );
    let tried = api.put("/v1/settings?dry_run=true", wrong).await.json();
    assert_eq!(
        (&tried["revision"], &tried["out_of_service"]),
        (&Value::Null, &json!(2))
    );
    assert!(api.stored("settings").await.is_none());
    let half = r#"{"allowed_networks":["10.0.1.0/24","10.0.2.0/24"]}"#;
    let half = api.put("/v1/settings", half).await;
    half.revision();
    assert_eq!(half.json()["out_of_service"], 1);
    api.put("/v1/settings?force=true", wrong).await.revision();
    let bits = api
        .put("/v1/settings", r#"{"allowed_networks":["10.0.0.1/8"]}"#)
        .await;
    assert!(bits.refused(400, "bad_value").text.contains("10.0.0.0/8"));
}

#[tokio::test]
async fn a_dry_run_of_any_write_writes_nothing_and_refuses_what_the_write_would() {
    let api = Api::new();
    api.put("/v1/routes/a.example", r#"{"app":"a"}"#)
        .await
        .revision();
    api.put("/v1/apps/a", "{}").await.revision();
    api.put(
        "/v1/apps/a/instances/1",
        r#"{"addr":"10.0.0.1:80","ttl":"30s"}"#,
    )
    .await
    .revision();
    api.put("/v1/apps/a/instances/1/draining", "")
        .await
        .revision();
    api.put("/v1/settings", r#"{"defaults":{"retries":2}}"#)
        .await
        .revision();
    api.put("/v1/sets/s", r#"{"members":[]}"#).await.revision();
    api.put("/v1/routes/a.example/pause", "").await.revision();
    api.sync().await;
    let all = api.store.list(b"", 0, None).await.unwrap();
    for (method, path, body) in [
        ("PUT", "/v1/routes/b.example", r#"{"app":"a"}"#),
        ("DELETE", "/v1/routes/a.example", ""),
        ("PUT", "/v1/routes/a.example/pause", ""),
        ("DELETE", "/v1/routes/a.example/pause", ""),
        ("PUT", "/v1/apps/a", r#"{"retries":3}"#),
        ("DELETE", "/v1/apps/a", ""),
        (
            "PUT",
            "/v1/apps/a/instances/2",
            r#"{"addr":"10.0.0.2:80","ttl":"30s"}"#,
        ),
        (
            "PUT",
            "/v1/apps/a/instances/1",
            r#"{"addr":"10.0.0.2:80","ttl":"30s"}"#,
        ),
        (
            "PUT",
            "/v1/apps/a/instances/1",
            r#"{"addr":"10.0.0.1:80","ttl":"1h"}"#,
        ),
        ("DELETE", "/v1/apps/a/instances/1", ""),
        ("PUT", "/v1/apps/a/instances/1/draining", ""),
        ("DELETE", "/v1/apps/a/instances/1/draining", ""),
        ("PUT", "/v1/settings", "{}"),
        ("DELETE", "/v1/settings", ""),
        ("PUT", "/v1/sets/t", r#"{"members":[]}"#),
        ("DELETE", "/v1/sets/s", ""),
    ] {
        let tried = format!("{path}?dry_run=true");
        let answer = api.call(method, &tried, &[], body).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text);
        assert_eq!(answer.json()["revision"], Value::Null, "{method} {path}");
        assert_eq!(answer.header("etag"), "");
        let now = api.store.list(b"", 0, None).await.unwrap();
        assert_eq!(now.revision, all.revision, "{method} {path}");
    }
    let refused = api
        .call("DELETE", "/v1/routes/none.example?dry_run=true", &[], "")
        .await;
    refused.refused(404, "not_found");
    let stale = [("if-match", "\"1\"")];
    let path = "/v1/apps/a?dry_run=true";
    let refused = api.call("PUT", path, &stale, "{}").await;
    refused.refused(412, "precondition_failed");
}

#[tokio::test]
async fn a_policy_stays_beneath_the_ceilings() {
    let api = Api::new();
    api.put("/v1/apps/old", r#"{"read_timeout":"1h"}"#)
        .await
        .revision();
    let settings = r#"{"ceilings":{"read_timeout":"30s","max_conns":100}}"#;
    api.put("/v1/settings", settings).await.revision();
    api.sync().await;
    let refused = api.put("/v1/apps/a", r#"{"max_conns":65535}"#).await;
    refused.refused(400, "bad_value");
    assert_eq!(refused.json()["field"], "max_conns");
    assert!(refused.json()["detail"].as_str().unwrap().contains("100"));
    api.put("/v1/apps/a", r#"{"max_conns":100}"#)
        .await
        .revision();
    let old = api.get("/v1/apps/old").await.json();
    assert_eq!(old["policy"], json!({"read_timeout": "1h"}));
    assert_eq!(
        old["effective"],
        json!({"read_timeout": "30s", "max_conns": 100})
    );
}

#[tokio::test]
async fn a_probes_reason_is_for_admins_and_its_class_for_all() {
    let api = Api::new();
    api.put("/v1/apps/a", r#"{"health_check":{}}"#)
        .await
        .revision();
    api.put("/v1/apps/a/instances/1", AT).await.revision();
    let health = br#"{"up":false,"class":"body","reason":"the body lacks \"secret\""}"#;
    let always = pointsman_store::Condition::Always;
    api.store
        .put("health/a/1", health, 0, always)
        .await
        .unwrap();
    api.sync().await;
    let found = api.get("/v1/apps/a").await.json();
    assert_eq!(found["instances"][0]["reason_class"], "body");
    assert_eq!(found["instances"][0]["reason"], "the body lacks \"secret\"");
    let found = IS_ADMIN.scope(false, api.get("/v1/apps/a")).await;
    assert!(!found.text.contains("secret"));
    assert_eq!(found.json()["instances"][0]["reason_class"], "body");
}

#[tokio::test]
async fn special_addresses_are_refused_before_they_are_written() {
    let api = Api::new();
    for addr in [
        "127.0.0.1:8081",
        "169.254.169.254:80",
        "[::1]:80",
        "[64:ff9b::127.0.0.1]:80",
    ] {
        let body = json!({ "addr": addr }).to_string();
        let answer = api.put("/v1/apps/a/instances/1", &body).await;
        answer.refused(422, "not_allowed");
        assert!(answer.text.contains("allowed_networks"));
    }
    let loopback = r#"{"allowed_networks":["127.0.0.0/8"],"allowed_ports":["1024-65535"]}"#;
    api.put("/v1/settings", loopback).await.revision();
    api.sync().await;
    let put = |addr: &str| format!(r#"{{"addr":"{addr}"}}"#);
    api.put("/v1/apps/a/instances/1", &put("127.0.0.1:8081"))
        .await
        .revision();
    let refused = api
        .put("/v1/apps/a/instances/1", &put("127.0.0.1:80"))
        .await;
    assert!(refused.refused(422, "not_allowed").text.contains("port"));
}
