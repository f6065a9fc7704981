use pointsman_memory::{Fake, Fault};
use pointsman_model::BadCode;

use super::*;

const SHOP: &str = r#"{"app":"shop"}"#;

#[tokio::test]
async fn unknown_paths_and_methods_are_problems_too() {
    let api = Api::new();
    for path in [
        "/",
        "/v2/routes",
        "/v1/routes/",
        "/v1/routes/a/b",
        "/v1/apps/shop/instances",
        "/v1/apps/shop/instances/",
        "/v1/status/x",
    ] {
        api.get(path).await.refused(404, "unknown_path");
    }
    for (method, path, allowed) in [
        ("POST", "/v1/routes/a.example", "PUT,GET,HEAD,DELETE"),
        ("PUT", "/v1/routes", "GET,HEAD"),
        ("GET", "/v1/apps/shop/instances/a", "PUT,DELETE"),
        ("DELETE", "/v1/status", "GET,HEAD"),
        ("OPTIONS", "/livez", "GET,HEAD"),
    ] {
        let answer = api.call(method, path, &[], "").await;
        answer.refused(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let api = Api::new();
    let large = format!(r#"{{"app":"{}"}}"#, "a".repeat(2 << 20));
    api.put("/v1/routes/a.example", &large)
        .await
        .refused(413, "body_too_large");
    // In chunks, with no length announced.
    let chunks = large
        .as_bytes()
        .chunks(1000)
        .map(|c| Ok::<_, std::io::Error>(c.to_vec()));
    let chunks: Vec<_> = chunks.collect();
    let request = Request::put("/v1/routes/a.example")
        .header("content-type", "application/json")
        .body(Body::from_stream(futures::stream::iter(chunks)))
        .unwrap();
    api.send(request).await.refused(413, "body_too_large");
    assert_eq!(api.store.revision(), 1, "nothing was written");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_or_never_comes_is_refused() {
    let api = Api::new();
    let send = async |body: Body| {
        let request = Request::put("/v1/routes/a.example")
            .header("content-type", "application/json; charset=utf-8")
            .body(body)
            .unwrap();
        api.send(request).await
    };
    let broken: Vec<Result<&str, _>> = vec![Ok("{"), Err(std::io::Error::other("gone"))];
    let broken = Body::from_stream(futures::stream::iter(broken));
    send(broken).await.refused(400, "bad_body");
    let never = futures::stream::pending::<Result<&str, std::io::Error>>();
    send(Body::from_stream(never))
        .await
        .refused(408, "request_timeout");
    send(Body::from(SHOP)).await.revision();
}

#[tokio::test]
async fn a_body_must_be_announced_as_json() {
    let api = Api::new();
    for given in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
        Some(""),
    ] {
        let mut request = Request::put("/v1/routes/a.example");
        if let Some(given) = given {
            request = request.header("content-type", given);
        }
        let answer = api.send(request.body(SHOP.into()).unwrap()).await;
        answer.refused(415, "bad_content_type");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let api = Api::new();
    let path = format!("/v1/routes/{}", "a".repeat(9000));
    api.get(&path).await.refused(414, "uri_too_long");
    let large = "x".repeat(40_000);
    let answer = api.call("GET", "/livez", &[("x-large", &large)], "").await;
    answer.refused(431, "headers_too_large");
}

#[tokio::test]
async fn the_clients_request_id_is_kept_if_it_is_harmless() {
    let api = Api::new();
    let with = async |id: &str| {
        let answer = api
            .call("GET", "/v1/nowhere", &[("x-request-id", id)], "")
            .await;
        answer.refused(404, "unknown_path");
        answer.header("x-request-id").to_owned()
    };
    assert_eq!(with("deploy-17/3").await, "deploy-17/3");
    for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
        let id = with(bad).await;
        assert!(uuid::Uuid::parse_str(&id).is_ok(), "{id}");
    }
    let ok = api
        .call("GET", "/livez", &[("x-request-id", "r1")], "")
        .await;
    assert_eq!(ok.header("x-request-id"), "r1");
}

#[tokio::test]
async fn while_etcd_is_away_everything_that_needs_it_says_so() {
    let api = Api::new();
    api.put("/v1/routes/a.example", SHOP).await.revision();
    api.sync().await;
    api.store.set_down(true);
    let instance = r#"{"addr":"10.0.0.5:80"}"#;
    let leased = r#"{"addr":"10.0.0.5:80","ttl":"10s"}"#;
    for (method, path, body) in [
        ("PUT", "/v1/routes/a.example", SHOP),
        ("GET", "/v1/routes/a.example", ""),
        ("DELETE", "/v1/routes/a.example", ""),
        ("PUT", "/v1/apps/shop", "{}"),
        ("GET", "/v1/apps/shop", ""),
        ("DELETE", "/v1/apps/shop", ""),
        ("PUT", "/v1/apps/shop/instances/a", instance),
        ("PUT", "/v1/apps/shop/instances/a", leased),
        ("DELETE", "/v1/apps/shop/instances/a", ""),
    ] {
        let answer = api.call(method, path, &[], body).await;
        answer.refused(503, "etcd_unavailable");
        assert_eq!(answer.header("retry-after"), "1");
        assert!(
            !answer.text.contains("told to be down"),
            "no internals: {}",
            answer.text
        );
    }
    // The table is still there, and says how old it is.
    let list = api.get("/v1/routes").await.json();
    assert_eq!(
        (&list["revision"], &list["routes"][0]["host"]),
        (&json!(2), &json!("a.example"))
    );
}

#[tokio::test(start_paused = true)]
async fn faults_of_the_store_are_answered_in_time_and_without_internals() {
    for (how, status, code) in [
        (Fault::Hangs, 503, "etcd_unavailable"),
        (Fault::Denies, 503, "etcd_denied"),
        (Fault::Panics, 500, "internal"),
        (Fault::Fails, 500, "internal"),
    ] {
        let api = Api::with(MemoryStore::new(), Arc::new(Fake::new(how)));
        let leased = r#"{"addr":"10.0.0.5:80","ttl":"10s"}"#;
        for (path, body) in [
            ("/v1/routes/a.example", SHOP),
            ("/v1/apps/a/instances/b", leased),
        ] {
            let begun = tokio::time::Instant::now();
            let answer = api.put(path, body).await;
            answer.refused(status, code);
            assert!(
                begun.elapsed() <= PATIENCE + Duration::from_millis(1),
                "{how:?}"
            );
            assert!(!answer.text.contains("internals") && !answer.text.contains("agent-7"));
        }
        assert_eq!(api.get("/livez").await.status, 200);
    }
}

#[test]
fn every_code_of_a_bad_value_is_a_code_of_the_api() {
    for code in BadCode::ALL
        .into_iter()
        .filter(|c| *c != BadCode::UnknownKey)
    {
        let problem = Problem::from(pointsman_model::Bad::new(code, "x"));
        assert_eq!(problem.code().as_str(), code.as_str());
    }
}

#[tokio::test]
async fn a_problem_names_the_field_that_it_is_about() {
    let api = Api::new();
    let (route, app) = ("/v1/routes/a.example", "/v1/apps/shop");
    let instance = "/v1/apps/shop/instances/a";
    for (path, body, code, field) in [
        ("/v1/routes/a_b", SHOP, "bad_host", "host"),
        ("/v1/apps/A", "{}", "bad_app", "app"),
        ("/v1/apps/A/instances/a", "{}", "bad_app", "app"),
        ("/v1/apps/a/instances/+", "{}", "bad_id", "id"),
        (route, r#"{"ap":"shop"}"#, "unknown_field", "ap"),
        (route, r#"{"app":1}"#, "bad_value", "app"),
        (route, r#"{"app":"A"}"#, "bad_app", "app"),
        (route, r#"{"rules":1}"#, "bad_value", "rules"),
        (route, r#"{"rules":[]}"#, "bad_value", "rules"),
        (route, r#"{"rules":[1]}"#, "bad_json", "rules[0]"),
        (route, r#"{"rules":[{}]}"#, "missing_field", "rules[0]"),
        (route, r#"{"rules":[{"to":1}]}"#, "bad_value", "rules[0].to"),
        (
            route,
            r#"{"rules":[{"to":[]}]}"#,
            "bad_value",
            "rules[0].to",
        ),
        (
            route,
            r#"{"rules":[{"to":[1]}]}"#,
            "bad_json",
            "rules[0].to[0]",
        ),
        (
            route,
            r#"{"rules":[{"to":[{}]}]}"#,
            "missing_field",
            "rules[0].to[0].app",
        ),
        (
            route,
            r#"{"rules":[{"path":1}]}"#,
            "bad_value",
            "rules[0].path",
        ),
        (
            route,
            r#"{"rules":[{"path":"/a"}]}"#,
            "missing_field",
            "rules[0]",
        ),
        (app, r#"{"retries":17}"#, "bad_value", "retries"),
        (app, r#"{"balance":"x"}"#, "bad_value", "balance"),
        (app, r#"{"scheme":"h2c"}"#, "not_supported", "scheme"),
        (app, r#"{"fail_timeout":"2h"}"#, "bad_value", "fail_timeout"),
        (app, r#"{"fail_timeout":10}"#, "bad_value", "fail_timeout"),
        (instance, "{}", "missing_field", "addr"),
        (instance, r#"{"ttl":1}"#, "bad_ttl", "ttl"),
        (
            "/v1/settings",
            r#"{"allowed_networks":[]}"#,
            "bad_value",
            "allowed_networks",
        ),
    ] {
        let answer = api.put(path, body).await;
        let status = if code == "not_supported" { 422 } else { 400 };
        answer.refused(status, code);
        assert_eq!(answer.json()["field"], field, "{path} {body}");
    }
    for body in ["[]", "{", "{}", r#"{"app":"a","rules":[]}"#] {
        let answer = api.put(route, body).await;
        assert!(answer.json().get("field").is_none(), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_field_that_is_there_twice_is_refused() {
    let api = Api::new();
    for (path, body) in [
        ("/v1/routes/a.example", r#"{"app":"a","app":"a"}"#),
        (
            "/v1/routes/a.example",
            r#"{"rules":[{"to":[{"app":"a","\u0061pp":"b"}]}]}"#,
        ),
        ("/v1/apps/shop", r#"{"retries":1,"retries":null}"#),
        (
            "/v1/apps/shop/instances/a",
            r#"{"addr":"10.0.0.1:80","addr":"10.0.0.2:80"}"#,
        ),
        (
            "/v1/apps/shop/instances/a",
            r#"{"addr":"10.0.0.1:80","ttl":"9s","ttl":"10s"}"#,
        ),
        (
            "/v1/settings",
            r#"{"allowed_networks":null,"allowed_networks":["10.0.0.0/8"]}"#,
        ),
    ] {
        let answer = api.put(path, body).await;
        answer.refused(400, "bad_json");
        assert!(answer.text.contains("twice"), "{}", answer.text);
    }
    assert_eq!(api.store.revision(), 1, "nothing was written");
}

#[tokio::test]
async fn a_method_that_is_no_call_is_refused_as_such_also_with_a_query() {
    let api = Api::new();
    for path in [
        "/v1/apps?limit=1",
        "/v1/routes/a.test?wait=",
        "/v1/status?x=1",
    ] {
        let answer = api.call("TRACE", path, &[], "").await;
        answer.refused(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn a_request_that_is_meant_for_others_gets_nowhere() {
    let api = Api::new();
    for (headers, status, code) in [
        ([("host", "evil.example:8081")], 421, "foreign_host"),
        ([("host", "user@127.0.0.1")], 400, "bad_host_header"),
        ([("origin", "http://evil.example")], 403, "foreign_origin"),
    ] {
        for (method, path, body) in [
            ("PUT", "/v1/routes/a.example", SHOP),
            ("GET", "/v1/status", ""),
            ("GET", "/livez", ""),
            ("OPTIONS", "/v1/routes", ""),
            ("GET", "/none", ""),
        ] {
            let answer = api.call(method, path, &headers, body).await;
            answer.refused(status, code);
            let cors = answer.headers.keys();
            let mut cors = cors.filter(|name| name.as_str().starts_with("access-control"));
            assert_eq!(cors.next(), None);
        }
    }
    assert!(api.stored("routes/a.example").await.is_none());
    let own = [("origin", "http://127.0.0.1:8081")];
    let answer = api.call("PUT", "/v1/routes/a.example", &own, SHOP).await;
    answer.revision();
}
