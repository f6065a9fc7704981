use pointsman_publish::Phase;

use super::*;

#[tokio::test]
async fn alive_at_once_and_ready_after_the_first_sync() {
    let api = Api::new();
    assert_eq!(api.get("/livez").await.text, "ok\n");
    let answer = api.get("/readyz").await;
    answer.refused(503, "not_ready");
    assert_eq!(answer.header("retry-after"), "1");
    api.status.send_modify(|s| s.ready = true);
    let answer = api.get("/readyz").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text.as_str()),
        (200, "ok\n")
    );
    // Ready stays ready when etcd goes away; the edges serve what they have.
    api.store.set_down(true);
    assert_eq!(api.get("/readyz").await.status, 200);
    assert_eq!(api.get("/livez").await.status, 200);
}

#[tokio::test]
async fn the_status_shows_both_sides_and_what_is_bad() {
    let api = Api::new();
    api.store.commit(&[
        ("routes/Shop.example", Some("{}")),
        ("apps/shop", Some("{}")),
    ]);
    api.store
        .commit(&[("instances/shop/a", Some("10.0.0.1:80"))]);
    api.store
        .commit(&[("instances/shop/b", Some("10.0.0.1:80"))]);
    api.store
        .commit(&[("instances/shop/c", Some("10.0.0.1:70000"))]);
    api.sync().await;
    api.status.send_modify(|s| {
        s.phase = Phase::Streaming;
        s.etcd_connected = true;
        s.seen = 5;
        s.applied = 3;
        s.waiting = 2;
        s.epoch = Some("e-1".to_owned());
        s.last_error = Some("redis is not available: refused".to_owned());
        s.ready = true;
    });
    let body = api.get("/v1/status").await.json();
    let bad = body["bad"].as_array().unwrap().clone();
    let mut rest = body;
    rest["bad"].take();
    assert_eq!(
        rest,
        json!({
            "agent": { "id": "agent-1", "version": env!("CARGO_PKG_VERSION") },
            "ready": true,
            "waiting_for": null,
            "phase": "streaming",
            "hold_reason": null,
            "last_error": "redis is not available: refused",
            "epoch": "e-1",
            "etcd": { "connected": true, "revision_seen": 5 },
            "redis": { "connected": false, "revision_applied": 3 },
            "lag": { "revisions": 2, "waiting": 2 },
            "records": { "routes": 0, "apps": 1, "instances": 3 },
            "bad_total": 2,
            "bad": null,
            "shadowed_total": 1,
            "shadowed": [
                { "addr": "10.0.0.1:80", "owner": "shop/b", "losers": ["shop/a"] },
            ],
        })
    );
    assert_eq!(bad.len(), 2);
    assert_eq!(bad[0]["key"], "instances/shop/c");
    assert_eq!(bad[0]["code"], "bad_addr");
    assert!(bad[0]["reason"].as_str().unwrap().contains("70000"));
    assert_eq!(bad[1]["key"], "routes/Shop.example");
    assert_eq!(bad[1]["code"], "bad_host");
}

#[tokio::test]
async fn requests_are_counted_by_pattern_and_status() {
    let api = Api::new();
    api.put("/v1/routes/a.example", r#"{"app":"shop"}"#).await;
    api.put("/v1/routes/b.example", r#"{"app":"shop"}"#).await;
    api.put("/v1/routes/b_.example", r#"{"app":"shop"}"#).await;
    api.get("/nowhere/at/all").await;
    api.call("BREW", "/v1/routes", &[], "").await;
    api.sync().await;
    let answer = api.get("/metrics?name[]=x").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    for line in [
        r#"pointsman_agent_api_requests_total{method="PUT",route="/v1/routes/{host}",status="200"} 2"#,
        r#"pointsman_agent_api_requests_total{method="PUT",route="/v1/routes/{host}",status="400"} 1"#,
        r#"pointsman_agent_api_requests_total{method="GET",route="none",status="404"} 1"#,
        r#"pointsman_agent_api_requests_total{method="other",route="/v1/routes",status="405"} 1"#,
        "pointsman_agent_routes 2",
        "pointsman_agent_ready 0",
    ] {
        let found = answer.text.lines().any(|l| l == line);
        assert!(found, "{line}\nnot in\n{}", answer.text);
    }
}
