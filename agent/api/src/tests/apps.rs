use super::*;

#[tokio::test]
async fn a_policy_is_put_read_and_deleted() {
    let api = Api::new();
    api.sync().await;
    let policy = r#"{"balance":"round_robin","retries":2,"fail_timeout":"10s"}"#;
    let put = api.put("/v1/apps/shop", policy).await;
    let revision = put.revision();
    assert_eq!(put.header("location"), "/v1/apps/shop");
    let get = api.get("/v1/apps/shop").await;
    assert_eq!(get.header("etag"), format!("\"{revision}\""));
    assert_eq!(
        get.json(),
        json!({
            "app": "shop",
            "revision": revision,
            "policy": { "balance": "round_robin", "retries": 2, "fail_timeout": "10s" },
            "live": 0,
            "instances": [],
            "instances_at": 1,
        })
    );
    api.put("/v1/apps/shop", "{}").await.revision();
    api.delete("/v1/apps/shop").await.revision();
    api.get("/v1/apps/shop").await.refused(404, "not_found");
    api.delete("/v1/apps/shop").await.refused(404, "not_found");
}

#[tokio::test]
async fn policies_that_cannot_be_used_are_refused() {
    let api = Api::new();
    for (body, status, code) in [
        ("", 415, "bad_content_type"),
        ("nonsense", 400, "bad_json"),
        ("[]", 400, "bad_json"),
        (r#"{"retrys":1}"#, 400, "unknown_field"),
        (r#"{"retries":-1}"#, 400, "bad_value"),
        (r#"{"retries":17}"#, 400, "bad_value"),
        (r#"{"retries":"2"}"#, 400, "bad_value"),
        (r#"{"fail_timeout":10}"#, 400, "bad_value"),
        (r#"{"fail_timeout":"0s"}"#, 400, "bad_value"),
        (r#"{"balance":"fastest"}"#, 400, "bad_value"),
        (r#"{"scheme":"h2c"}"#, 422, "not_supported"),
    ] {
        api.put("/v1/apps/shop", body).await.refused(status, code);
    }
    let long = "a".repeat(129);
    for app in ["Shop", "a%20b", "a%2Fb", "caf%C3%A9", "%FF", long.as_str()] {
        api.put(&format!("/v1/apps/{app}"), "{}")
            .await
            .refused(400, "bad_app");
        api.get(&format!("/v1/apps/{app}"))
            .await
            .refused(400, "bad_app");
        api.delete(&format!("/v1/apps/{app}"))
            .await
            .refused(400, "bad_app");
    }
    assert_eq!(api.store.revision(), 1, "nothing was written");
}

#[tokio::test]
async fn an_app_shows_its_instances_with_their_marks() {
    let api = Api::new();
    api.store.commit(&[(
        "instances/shop/a",
        Some(r#"{"addr":"10.0.0.1:80","zone":"z"}"#),
    )]);
    api.store.commit(&[("instances/shop/b", Some("unix:/x"))]);
    api.store
        .commit(&[("instances/shop/c", Some("10.0.0.3:80"))]);
    api.store
        .commit(&[("instances/other/x", Some("10.0.0.3:80"))]);
    api.get("/v1/apps/shop").await.refused(503, "not_ready");
    api.sync().await;
    let get = api.get("/v1/apps/shop").await;
    assert_eq!(get.header("etag"), "", "there is no policy to name");
    assert_eq!(
        get.json(),
        json!({
            "app": "shop",
            "revision": null,
            "policy": {},
            "live": 1,
            "instances": [
                { "id": "a", "addr": "10.0.0.1:80", "weight": 100, "zone": "z",
                  "state": "live", "revision": 2 },
                { "id": "b", "state": "bad", "revision": 3 },
                { "id": "c", "addr": "10.0.0.3:80", "weight": 100, "state": "shadowed",
                  "shadowed_by": { "app": "other", "id": "x" }, "revision": 4 },
            ],
            "instances_at": 5,
        })
    );
    assert_eq!(
        api.get("/v1/apps").await.json(),
        json!({
            "apps": [
                { "app": "other", "revision": null, "instances": 1, "live": 1 },
                { "app": "shop", "revision": null, "instances": 3, "live": 1 },
            ],
            "next": null,
            "revision": 5,
        })
    );
    let page = api.get("/v1/apps?limit=1").await.json();
    assert_eq!(page["next"], "other");
    let page = api.get("/v1/apps?limit=1&cursor=other").await.json();
    assert_eq!(
        (&page["apps"][0]["app"], &page["next"]),
        (&json!("shop"), &json!(null))
    );
}

#[tokio::test]
async fn a_bad_policy_in_etcd_is_shown_with_its_reason() {
    let api = Api::new();
    api.store
        .commit(&[("apps/shop", Some(r#"{"retries":99}"#))]);
    api.sync().await;
    let body = api.get("/v1/apps/shop").await.json();
    assert_eq!(body["bad"]["code"], "bad_value");
    assert!(body["bad"]["reason"].as_str().unwrap().contains("retries"));
}

#[tokio::test]
async fn an_app_of_many_instances_is_shown_whole() {
    let api = Api::new();
    let keys: Vec<_> = (0..2_500)
        .map(|i| format!("instances/shop/shop-{i:04}"))
        .collect();
    let writes: Vec<_> = keys
        .iter()
        .map(|key| (key.as_str(), Some("10.0.0.1:80")))
        .collect();
    api.store.commit(&writes);
    api.sync().await;
    let shown = api.get("/v1/apps/shop").await.json();
    let ids = shown["instances"].as_array().unwrap().iter();
    let ids: Vec<_> = ids
        .map(|i| format!("instances/shop/{}", i["id"].as_str().unwrap()))
        .collect();
    assert_eq!(ids, keys);
    assert_eq!(shown["live"], 1, "all have one address");
}
