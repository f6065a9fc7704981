use std::sync::atomic::Ordering;

use pointsman_memory::{Fake, Fault};
use pointsman_store::{Condition, LeaseId, Written};

use super::*;

const PATH: &str = "/v1/apps/shop/instances/shop-1";
const KEY: &str = "instances/shop/shop-1";
const LEASED: &str = r#"{"addr":"10.0.0.5:8080","ttl":"10s"}"#;

async fn lease(api: &Api) -> LeaseId {
    api.stored(KEY).await.map_or(0, |kv| kv.lease)
}

#[tokio::test(start_paused = true)]
async fn without_a_ttl_an_instance_stays() {
    let api = Api::new();
    let put = api
        .put(
            PATH,
            r#"{"addr":"10.0.0.5:8080","weight":50,"zone":"a","shared":true}"#,
        )
        .await;
    put.revision();
    assert_eq!(put.header("location"), PATH);
    assert_eq!(
        api.value(KEY).await,
        r#"{"addr":"10.0.0.5:8080","weight":50,"zone":"a","shared":true}"#
    );
    tokio::time::sleep(Duration::from_secs(100_000)).await;
    assert_eq!(lease(&api).await, 0);
    api.delete(PATH).await.revision();
    api.delete(PATH).await.refused(404, "not_found");
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_the_instance_and_makes_no_new_revision() {
    let api = Api::new();
    // Any agent will do: the lease is found by the key.
    let other = Api::over(api.store.clone());
    let first = api.put(PATH, LEASED).await.revision();
    for beat in 0..20 {
        tokio::time::sleep(Duration::from_secs(6)).await;
        let agent = if beat % 2 == 0 { &other } else { &api };
        let put = agent.put(PATH, LEASED).await;
        assert_eq!(put.revision(), first);
        assert_eq!(put.header("etag"), format!("\"{first}\""));
    }
    assert_eq!(api.store.revision(), first);
    tokio::time::sleep(Duration::from_secs(11)).await;
    assert!(
        api.stored(KEY).await.is_none(),
        "without a heartbeat it goes"
    );
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_after_the_lease_was_lost_registers_again() {
    let api = Api::new();
    let first = api.put(PATH, LEASED).await.revision();
    api.store.expire(lease(&api).await);
    let again = api.put(PATH, LEASED).await.revision();
    assert!(again > first);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(api.put(PATH, LEASED).await.revision(), again);
}

#[tokio::test(start_paused = true)]
async fn another_body_ttl_or_kind_is_a_new_put() {
    let api = Api::new();
    let mut last = api.put(PATH, LEASED).await.revision();
    for body in [
        r#"{"addr":"10.0.0.5:8080","ttl":"20s"}"#,
        r#"{"addr":"10.0.0.5:8080","ttl":"20s","weight":99}"#,
        r#"{"addr":"10.0.0.6:8080","ttl":"20s","weight":99}"#,
        r#"{"addr":"10.0.0.6:8080","weight":99}"#,
        r#"{"addr":"10.0.0.6:8080","ttl":"20s","weight":99}"#,
    ] {
        let before = lease(&api).await;
        let revision = api.put(PATH, body).await.revision();
        assert!(revision > last, "{body}");
        let kept = body.contains(r#""20s","weight":99"#) && before != 0;
        assert_eq!(lease(&api).await == before, kept, "{body}");
        assert_eq!(lease(&api).await == 0, !body.contains("ttl"), "{body}");
        last = revision;
    }
    // The ttl that was asked for holds, and not the one before.
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(api.stored(KEY).await.is_some());
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(api.stored(KEY).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_value_that_a_registrator_wrote_is_the_same_if_it_means_the_same() {
    let api = Api::new();
    let granted = api.store.lease_grant(10).await.unwrap();
    let put = api
        .store
        .put(KEY, b"10.0.0.5:8080", granted, Condition::Always);
    let Ok(Written::Done(revision)) = put.await else {
        panic!("not written")
    };
    let body = r#"{"weight":100,"ttl":"10s","addr":"10.0.0.5:8080"}"#;
    assert_eq!(api.put(PATH, body).await.revision(), revision);
    assert_eq!(lease(&api).await, granted);
}

#[tokio::test(start_paused = true)]
async fn conditions_hold_for_heartbeats_too() {
    let api = Api::new();
    let call = async |method: &str, name: &str, value: &str| {
        let body = if method == "PUT" { LEASED } else { "" };
        api.call(method, PATH, &[(name, value)], body).await
    };
    call("PUT", "if-match", "*")
        .await
        .refused(412, "precondition_failed");
    let first = call("PUT", "if-none-match", "*").await.revision();
    call("PUT", "if-none-match", "*")
        .await
        .refused(412, "precondition_failed");
    let tag = format!("\"{first}\"");
    assert_eq!(call("PUT", "if-match", &tag).await.revision(), first);
    api.store.commit(&[(KEY, Some("10.0.0.9:80"))]);
    call("PUT", "if-match", &tag)
        .await
        .refused(412, "precondition_failed");
    call("DELETE", "if-match", &tag)
        .await
        .refused(412, "precondition_failed");
    api.delete(PATH).await.revision();
    call("PUT", "if-match", &tag)
        .await
        .refused(412, "precondition_failed");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_refused_leaves_no_lease() {
    let fake = Arc::new(Fake::new(Fault::TakesNoValue));
    let api = Api::with(fake.inner.clone(), fake.clone());
    api.put(PATH, LEASED).await.refused(413, "body_too_large");
    assert_eq!(fake.leases.load(Ordering::Relaxed), 0);
}

/// An API over a store that can have a fault, and has none now.
fn over_fake(fault: Fault) -> (Arc<Fake>, Api) {
    let fake = Arc::new(Fake::new(fault));
    fake.faulty.store(false, Ordering::Relaxed);
    let api = Api::with(fake.inner.clone(), fake.clone());
    (fake, api)
}

#[tokio::test(start_paused = true)]
async fn whatever_the_heartbeat_brings_no_lease_is_left_behind() {
    let (fake, api) = over_fake(Fault::Hangs);
    for body in [
        LEASED,
        LEASED,
        r#"{"addr":"10.0.0.5:8080","ttl":"10s","weight":99}"#,
        r#"{"addr":"10.0.0.5:8080","ttl":"24h","weight":99}"#,
        r#"{"addr":"10.0.0.6:8080","ttl":"24h","weight":99}"#,
        r#"{"addr":"10.0.0.7:8080","ttl":"20s","weight":99}"#,
        r#"{"addr":"10.0.0.7:8080"}"#,
        r#"{"addr":"10.0.0.8:8080"}"#,
        LEASED,
    ] {
        api.put(PATH, body).await.revision();
        let leases = i64::from(body.contains("ttl"));
        assert_eq!(fake.leases.load(Ordering::Relaxed), leases, "{body}");
    }
    api.delete(PATH).await.revision();
    assert_eq!(fake.leases.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_on_which_other_keys_hang_is_not_revoked() {
    let api = Api::new();
    let shared = api.store.lease_grant(60).await.unwrap();
    for key in [KEY, "instances/shop/shop-2"] {
        let put = api
            .store
            .put(key, b"10.0.0.5:8080", shared, Condition::Always);
        put.await.unwrap();
    }
    api.put(PATH, LEASED).await.revision();
    api.delete(PATH).await.revision();
    let other = api.stored("instances/shop/shop-2").await.unwrap();
    assert_eq!(other.lease, shared);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_times_out_leaves_no_lease() {
    let (fake, api) = over_fake(Fault::Swallows);
    fake.faulty.store(true, Ordering::Relaxed);
    api.put(PATH, LEASED).await.refused(503, "etcd_unavailable");
    // Nor does one whose client does not wait for its answer.
    let impatient = api.put(PATH, LEASED);
    let gone = tokio::time::timeout(PATIENCE / 2, impatient).await;
    assert!(gone.is_err());
    assert_eq!(fake.leases.load(Ordering::Relaxed), 1, "granted by now");
    tokio::time::sleep(PATIENCE * 2).await;
    assert_eq!(fake.leases.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_put_with_a_new_address_is_a_new_registration() {
    for ttl in ["", r#","ttl":"10s""#] {
        let api = Api::new();
        let older = format!(r#"{{"addr":"10.0.0.5:8080"{ttl}}}"#);
        api.put(PATH, &older).await.revision();
        // The other one dies, and its lease outlives it.
        let dead = "/v1/apps/shop/instances/shop-2";
        let taken = format!(r#"{{"addr":"10.0.0.6:8080"{ttl}}}"#);
        api.put(dead, &taken).await.revision();
        let draining = format!("{PATH}/draining");
        api.put(&draining, "").await.revision();
        let revision = api.put(PATH, &taken).await.revision();
        assert_eq!(api.stored(KEY).await.unwrap().create_revision, revision);
        api.sync().await;
        let body = api.get("/v1/apps/shop").await.json();
        assert_eq!(body["instances"][0]["state"], "live", "{body}");
        assert_eq!(body["instances"][1]["state"], "shadowed", "{body}");
        // A new weight is none.
        let heavier = taken.replace('{', r#"{"weight":7,"#);
        api.put(PATH, &heavier).await.revision();
        assert_eq!(api.stored(KEY).await.unwrap().create_revision, revision);
    }
}

#[tokio::test(start_paused = true)]
async fn a_move_is_made_to_the_end_though_answers_are_lost() {
    let (fake, api) = over_fake(Fault::LosesAnswers);
    api.put(PATH, LEASED).await.revision();
    fake.faulty.store(true, Ordering::Relaxed);
    let moved = r#"{"addr":"10.0.0.6:8080","ttl":"10s"}"#;
    let before = api.stored(KEY).await.unwrap().create_revision;
    let (answer, ()) = tokio::join!(api.put(PATH, moved), async {
        tokio::time::sleep(Duration::from_millis(1)).await;
        fake.faulty.store(false, Ordering::Relaxed);
    });
    let revision = answer.revision();
    let now = api.stored(KEY).await.unwrap();
    assert!(now.create_revision > before);
    assert_eq!(now.mod_revision, revision);
    assert_eq!(fake.leases.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_raises_the_ttl_does_not_break_heartbeats() {
    let fake = Arc::new(Fake::new(Fault::Raises(8)));
    let api = Api::with(fake.inner.clone(), fake.clone());
    let body = r#"{"addr":"10.0.0.5:8080","ttl":"2s"}"#;
    let first = api.put(PATH, body).await.revision();
    let granted = lease(&api).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(api.put(PATH, body).await.revision(), first);
    }
    assert_eq!(lease(&api).await, granted);
    assert_eq!(fake.leases.load(Ordering::Relaxed), 1);
    // A shorter ttl is not taken for a raised one.
    let long = r#"{"addr":"10.0.0.5:8080","ttl":"60s"}"#;
    let second = api.put(PATH, long).await.revision();
    assert!(second > first);
    assert!(api.put(PATH, body).await.revision() > second);
}

#[tokio::test]
async fn ids_and_names_with_unusual_characters_work() {
    let api = Api::new();
    let plain = r#"{"addr":"10.0.0.5:8080"}"#;
    for (path, key) in [
        (
            "/v1/apps/a.b_c-d/instances/host:shop:8080",
            "instances/a.b_c-d/host:shop:8080",
        ),
        (
            "/v1/apps/shop/instances/host%3Ashop%3a1",
            "instances/shop/host:shop:1",
        ),
        ("/v1/apps/%73hop/instances/A.B_C", "instances/shop/A.B_C"),
    ] {
        api.put(path, plain).await.revision();
        assert!(api.stored(key).await.is_some(), "{key}");
        api.delete(path).await.revision();
    }
    let long = format!("/v1/apps/shop/instances/{}", "x".repeat(257));
    for path in [
        "/v1/apps/shop/instances/a%2Fb",
        "/v1/apps/shop/instances/a%20b",
        "/v1/apps/shop/instances/%C3%A9",
        "/v1/apps/shop/instances/%FF",
        &long,
    ] {
        api.put(path, plain).await.refused(400, "bad_id");
        api.delete(path).await.refused(400, "bad_id");
    }
    api.put("/v1/apps/Shop/instances/a", plain)
        .await
        .refused(400, "bad_app");
}

/// A client would take them out of the path, and neither read nor delete.
#[tokio::test]
async fn names_that_change_the_path_of_a_url_are_refused() {
    let api = Api::new();
    let plain = r#"{"addr":"10.0.0.5:8080"}"#;
    for name in [".", "..", "%2E", "%2e%2E"] {
        let app = format!("/v1/apps/{name}");
        api.put(&app, "{}").await.refused(400, "bad_app");
        api.put(&format!("{app}/instances/a"), plain)
            .await
            .refused(400, "bad_app");
        let instance = format!("/v1/apps/shop/instances/{name}");
        api.put(&instance, plain).await.refused(400, "bad_id");
        let route = format!(r#"{{"app":"{}"}}"#, name.replace("%2E", "."));
        api.put("/v1/routes/a.example", &route)
            .await
            .refused(400, "bad_app");
    }
    assert_eq!(api.store.revision(), 1, "nothing was written");
    api.put("/v1/apps/.../instances/..a", plain)
        .await
        .revision();
}

#[tokio::test]
async fn bodies_that_are_no_instance_are_refused() {
    let api = Api::new();
    let with_addr = |addr: &str| json!({ "addr": addr }).to_string();
    let with_ttl = |ttl: &str| format!(r#"{{"addr":"10.0.0.5:80","ttl":{ttl}}}"#);
    let with_weight = |weight: &str| format!(r#"{{"addr":"10.0.0.5:80","weight":{weight}}}"#);
    for (body, code, field) in [
        ("10.0.0.5:80".to_owned(), "bad_json", None),
        ("\"10.0.0.5:80\"".to_owned(), "bad_json", None),
        ("{".to_owned(), "bad_json", None),
        ("{}".to_owned(), "missing_field", Some("addr")),
        (r#"{"weight":1}"#.to_owned(), "missing_field", Some("addr")),
        (r#"{"addr":80}"#.to_owned(), "bad_addr", Some("addr")),
        (with_addr("shop-1.internal:80"), "bad_addr", Some("addr")),
        (with_addr("localhost:80"), "bad_addr", Some("addr")),
        (with_addr("unix:/run/shop.sock"), "bad_addr", Some("addr")),
        (with_addr("10.0.0.5"), "bad_addr", Some("addr")),
        (with_addr("10.0.0.5:0"), "bad_addr", Some("addr")),
        (with_addr("10.0.0.5:70000"), "bad_addr", Some("addr")),
        (with_addr("::1:80"), "bad_addr", Some("addr")),
        (with_addr("0.0.0.0:80"), "bad_addr", Some("addr")),
        (with_addr(""), "bad_addr", Some("addr")),
        (with_weight("\"\""), "bad_weight", Some("weight")),
        (with_weight("-1"), "bad_weight", Some("weight")),
        (with_weight("65536"), "bad_weight", Some("weight")),
        (with_weight("1.5"), "bad_weight", Some("weight")),
        (with_ttl("\"1s\""), "bad_ttl", Some("ttl")),
        (with_ttl("\"25h\""), "bad_ttl", Some("ttl")),
        (with_ttl("\"2500ms\""), "bad_ttl", Some("ttl")),
        (with_ttl("\"10\""), "bad_ttl", Some("ttl")),
        (with_ttl("10"), "bad_ttl", Some("ttl")),
        (with_ttl("\"\""), "bad_ttl", Some("ttl")),
        (with_ttl("\"forever\""), "bad_ttl", Some("ttl")),
        (
            r#"{"addr":"10.0.0.5:80","zone":1}"#.to_owned(),
            "bad_value",
            Some("zone"),
        ),
        (
            r#"{"addr":"10.0.0.5:80","zone":""}"#.to_owned(),
            "bad_value",
            Some("zone"),
        ),
        (
            r#"{"addr":"10.0.0.5:80","adress":""}"#.to_owned(),
            "unknown_field",
            Some("adress"),
        ),
    ] {
        let answer = api.put(PATH, &body).await;
        answer.refused(400, code);
        let named = answer.json()["field"].as_str().map(str::to_owned);
        assert_eq!(named.as_deref(), field, "{body}");
    }
    let answer = api.put(PATH, r#"{"addr":"10.0.0.5:80","tll":"10s"}"#).await;
    assert!(
        answer.json()["detail"].as_str().unwrap().contains("ttl"),
        "{}",
        answer.text
    );
    assert_eq!(api.store.revision(), 1, "nothing was written");
}
