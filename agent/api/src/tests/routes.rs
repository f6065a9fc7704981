use super::*;

const SHOP: &str = r#"{"app":"shop"}"#;

#[tokio::test]
async fn a_route_is_put_read_and_deleted() {
    let api = Api::new();
    let put = api.put("/v1/routes/shop.example.com", SHOP).await;
    let revision = put.revision();
    assert_eq!(put.header("etag"), format!("\"{revision}\""));
    assert_eq!(put.header("location"), "/v1/routes/shop.example.com");
    assert_eq!(
        api.value("routes/shop.example.com").await,
        r#"{"rules":[{"path":"/","to":[{"app":"shop"}]}]}"#
    );

    let get = api.get("/v1/routes/shop.example.com").await;
    assert_eq!(get.header("etag"), put.header("etag"));
    assert_eq!(
        get.json(),
        json!({
            "host": "shop.example.com",
            "revision": revision,
            "rules": [{ "path": "/", "to": [{ "app": "shop" }] }],
        })
    );
    let tag = put.header("etag");
    let again = api
        .call(
            "GET",
            "/v1/routes/shop.example.com",
            &[("if-none-match", tag)],
            "",
        )
        .await;
    assert_eq!((again.status.as_u16(), again.text.as_str()), (304, ""));

    assert!(api.delete("/v1/routes/shop.example.com").await.revision() > revision);
    api.get("/v1/routes/shop.example.com")
        .await
        .refused(404, "not_found");
    api.delete("/v1/routes/shop.example.com")
        .await
        .refused(404, "not_found");
}

#[tokio::test]
async fn both_forms_of_the_body_are_stored_alike() {
    let api = Api::new();
    let rules = r#"{"rules":[{"path":"/","to":[{"app":"shop"}]}]}"#;
    api.put("/v1/routes/a.example", SHOP).await.revision();
    api.put("/v1/routes/b.example", rules).await.revision();
    assert_eq!(
        api.value("routes/a.example").await,
        api.value("routes/b.example").await
    );
}

#[tokio::test]
async fn hosts_are_folded_and_the_answer_shows_the_canonical_name() {
    let api = Api::new();
    let cases = [
        ("Shop.EXAMPLE.com", "shop.example.com", "shop.example.com"),
        (
            "b%C3%BCcher.example",
            "xn--bcher-kva.example",
            "xn--bcher-kva.example",
        ),
        ("*.Example.com", "*.example.com", "*.example.com"),
        ("%2A.example.org", "*.example.org", "*.example.org"),
        ("*", "*", "*"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.3"),
        ("[::1]", "[::1]", "%5B::1%5D"),
        (
            "%5B2001:DB8:0:0::1%5D",
            "[2001:db8::1]",
            "%5B2001:db8::1%5D",
        ),
    ];
    for (typed, stored, path) in cases {
        let put = api.put(&format!("/v1/routes/{typed}"), SHOP).await;
        put.revision();
        assert_eq!(
            put.header("location"),
            format!("/v1/routes/{path}"),
            "{typed}"
        );
        assert!(
            api.stored(&format!("routes/{stored}")).await.is_some(),
            "{typed}"
        );
        let get = api.get(&format!("/v1/routes/{typed}")).await;
        assert_eq!(get.json()["host"], stored);
        api.delete(put.header("location")).await.revision();
    }
}

#[tokio::test]
async fn hosts_that_cannot_be_bound_are_refused() {
    let api = Api::new();
    let long = format!("{}.example", "a.".repeat(150));
    let label = format!("{}.example", "a".repeat(64));
    for host in [
        "shop.example.com.",
        "my_shop.example.com",
        long.as_str(),
        label.as_str(),
        "shop.example.com:8080",
        "a..b",
        "..",
        "%2E%2E",
        "a.*.example.com",
        "*shop.example.com",
        "**",
        "-a.example",
        "1.2.3",
        "1.2.3.256",
        "[::1",
        "[::1]:80",
        "[fe80::1%25eth0]",
        "a%20b",
        "a%00b",
        "a%2Fb",
        "http:%2F%2Fa.example",
        "%FF",
    ] {
        for method in ["PUT", "GET", "DELETE"] {
            let body = if method == "PUT" { SHOP } else { "" };
            let answer = api
                .call(method, &format!("/v1/routes/{host}"), &[], body)
                .await;
            answer.refused(400, "bad_host");
            assert_eq!(answer.json()["field"], "host");
        }
    }
    assert_eq!(api.store.revision(), 1, "nothing was written");
}

#[tokio::test]
async fn a_host_that_only_etcd_takes_can_be_read_and_deleted() {
    let api = Api::new();
    let path = "/v1/routes/xn--a.example";
    api.put(path, SHOP).await.refused(400, "bad_host");
    api.store.commit(&[("routes/xn--a.example", Some(SHOP))]);
    assert_eq!(api.get(path).await.json()["host"], "xn--a.example");
    api.delete(path).await.revision();
}

#[tokio::test]
async fn a_refused_host_tells_what_is_wrong_with_it() {
    let api = Api::new();
    for (host, why) in [
        ("shop.example.com.", "trailing dot"),
        ("*.example.com.", "trailing dot"),
        ("..", "empty label"),
        ("%2E", "empty label"),
        ("*.", "empty label"),
        ("*..", "empty label"),
        (".example.com", "empty label"),
        ("*..example.com", "empty label"),
        ("a..b", "empty label"),
        ("a..", "empty label"),
        ("my_shop.example.com", "underscore"),
        ("shop.example.com:80", "port"),
        ("*.k.j.i.h.g.f.e.d.c.b.a", "at most 10 labels"),
    ] {
        let answer = api.put(&format!("/v1/routes/{host}"), SHOP).await;
        answer.refused(400, "bad_host");
        assert!(answer.text.contains(why), "{}", answer.text);
    }
}

#[tokio::test]
async fn bodies_that_are_no_route_are_refused() {
    let api = Api::new();
    for (body, status, code) in [
        ("{", 400, "bad_json"),
        ("[]", 400, "bad_json"),
        ("\"shop\"", 400, "bad_json"),
        (r#"{"app":"shop"} x"#, 400, "bad_json"),
        ("{}", 400, "missing_field"),
        (r#"{"ap":"shop"}"#, 400, "unknown_field"),
        (r#"{"app":"shop","colour":1}"#, 400, "unknown_field"),
        (r#"{"app":1}"#, 400, "bad_value"),
        (r#"{"app":"Shop"}"#, 400, "bad_app"),
        (r#"{"app":""}"#, 400, "bad_app"),
        (r#"{"app":"shop","rules":[]}"#, 400, "bad_value"),
        (r#"{"rules":{}}"#, 400, "bad_value"),
        (r#"{"rules":[]}"#, 400, "bad_value"),
        (r#"{"rules":[{"path":"/"}]}"#, 400, "missing_field"),
        (r#"{"rules":[{"to":[]}]}"#, 400, "bad_value"),
        (
            r#"{"rules":[{"to":[{"app":"a"}],"x":1}]}"#,
            400,
            "unknown_field",
        ),
        (
            r#"{"rules":[{"to":[{"app":"a","x":1}]}]}"#,
            400,
            "unknown_field",
        ),
        (
            r#"{"rules":[{"to":[{"app":"a"}]},{"to":[{"app":"b"}]}]}"#,
            400,
            "bad_value",
        ),
    ] {
        api.put("/v1/routes/a.example", body)
            .await
            .refused(status, code);
    }
    assert_eq!(api.store.revision(), 1, "nothing was written");
}

#[tokio::test]
async fn a_condition_that_does_not_hold_changes_nothing() {
    let api = Api::new();
    let path = "/v1/routes/a.example";
    let put =
        async |header: &str, value: &str| api.call("PUT", path, &[(header, value)], SHOP).await;
    put("if-match", "*")
        .await
        .refused(412, "precondition_failed");
    put("if-match", "\"7\"")
        .await
        .refused(412, "precondition_failed");
    let first = put("if-none-match", "*").await.revision();
    let again = put("if-none-match", "*").await;
    again.refused(412, "precondition_failed");
    assert_eq!(again.header("etag"), format!("\"{first}\""));

    let second = put("if-match", &format!("\"{first}\"")).await.revision();
    // Two writers that read the same: the second one loses, and sees why.
    let stale = put("if-match", &format!("\"{first}\"")).await;
    stale.refused(412, "precondition_failed");
    assert_eq!(stale.header("etag"), format!("\"{second}\""));
    let third = put("if-match", "*").await.revision();

    let delete = async |tag: &str| api.call("DELETE", path, &[("if-match", tag)], "").await;
    delete(&format!("\"{second}\""))
        .await
        .refused(412, "precondition_failed");
    delete(&format!("\"{third}\"")).await.revision();
    delete("*").await.refused(412, "precondition_failed");
    api.delete(path).await.refused(404, "not_found");
}

#[tokio::test]
async fn conditions_that_make_no_sense_are_refused() {
    let api = Api::new();
    for headers in [
        &[("if-match", "7")][..],
        &[("if-match", "W/\"7\"")],
        &[("if-match", "\"7\", \"8\"")],
        &[("if-match", "\"x\"")],
        &[("if-match", "\"-7\"")],
        &[("if-match", "\"+7\"")],
        &[("if-match", "")],
        &[("if-match", "*"), ("if-match", "*")],
        &[("if-none-match", "\"7\"")],
        &[("if-match", "*"), ("if-none-match", "*")],
    ] {
        let answer = api.call("PUT", "/v1/routes/a.example", headers, SHOP).await;
        answer.refused(400, "bad_precondition");
    }
    let answer = api
        .call(
            "DELETE",
            "/v1/routes/a.example",
            &[("if-none-match", "*")],
            "",
        )
        .await;
    answer.refused(400, "bad_precondition");
}

#[tokio::test]
async fn a_bad_value_in_etcd_is_shown_with_its_reason_and_can_be_repaired() {
    let api = Api::new();
    let revision = api.store.commit(&[("routes/a.example", Some("garbage"))]);
    let get = api.get("/v1/routes/a.example").await;
    assert_eq!(get.status, 200);
    assert_eq!(get.json()["bad"]["code"], "bad_json");
    assert_eq!(get.json()["revision"], revision);
    let tag = get.header("etag").to_owned();
    let put = api
        .call("PUT", "/v1/routes/a.example", &[("if-match", &tag)], SHOP)
        .await;
    put.revision();
}

#[tokio::test]
async fn a_list_is_paged_and_says_at_which_revision_it_is() {
    let api = Api::new();
    for n in 0..5 {
        api.put(&format!("/v1/routes/a{n}.example"), SHOP)
            .await
            .revision();
    }
    api.put("/v1/routes/b.example", SHOP).await.revision();
    api.store.commit(&[("routes/a9.example", Some("garbage"))]);
    api.get("/v1/routes").await.refused(503, "not_ready");
    api.sync().await;

    let all = api.get("/v1/routes").await.json();
    assert_eq!(all["routes"].as_array().unwrap().len(), 7);
    assert_eq!(all["revision"], api.store.revision());
    assert_eq!(all["next"], Value::Null);
    assert_eq!(
        all["routes"][5],
        json!({"host": "a9.example", "revision": 8, "bad": true})
    );
    assert_eq!(
        all["routes"][6],
        json!({
            "host": "b.example",
            "revision": 7,
            "rules": [{ "path": "/", "to": [{ "app": "shop" }] }],
        })
    );

    let mut hosts = Vec::new();
    let mut path = "/v1/routes?prefix=A&limit=2".to_owned();
    for _ in 0..3 {
        let page = api.get(&path).await.json();
        for route in page["routes"].as_array().unwrap() {
            hosts.push(route["host"].as_str().unwrap().to_owned());
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/routes?prefix=a&limit=2&cursor={next}");
    }
    assert_eq!(
        hosts,
        [
            "a0.example",
            "a1.example",
            "a2.example",
            "a3.example",
            "a4.example",
            "a9.example"
        ]
    );
}

#[tokio::test]
async fn a_query_that_is_not_understood_is_refused() {
    let api = Api::new();
    api.sync().await;
    for query in [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=x",
        "limit=",
        "colour=red",
        "limit=1&limit=2",
        "cursor=%00",
        "cursor=a%0Ab",
        "prefix=%7F",
        "prefix=%C2%85",
    ] {
        api.get(&format!("/v1/routes?{query}"))
            .await
            .refused(400, "bad_query");
        api.get(&format!("/v1/apps?{query}"))
            .await
            .refused(400, "bad_query");
    }
    api.get("/v1/routes/a.example?app=shop")
        .await
        .refused(400, "bad_query");
}
