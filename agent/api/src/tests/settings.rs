use super::*;

const PATH: &str = "/v1/settings";

#[tokio::test]
async fn defaults_are_put_and_read_in_one_form() {
    let api = Api::new();
    let body = r#"{"defaults":{"retries":2,"deadline":"60s","sticky":{}}}"#;
    let revision = api.put(PATH, body).await.revision();
    let kept = r#"{"defaults":{"retries":2,"deadline":"1m","sticky":{}}}"#;
    assert_eq!(api.value("settings").await, kept);
    let answer = api.get(PATH).await.json();
    assert_eq!(answer["revision"], revision);
    assert_eq!(answer["settings"].to_string(), kept);
    api.put(PATH, r#"{"defaults":{}}"#).await.revision();
    assert_eq!(api.value("settings").await, "{}");
}

#[tokio::test]
async fn defaults_that_cannot_be_used_are_refused_by_field() {
    let api = Api::new();
    for (body, code, field) in [
        (r#"{"defaults":[]}"#, "bad_json", "defaults"),
        (
            r#"{"defaults":{"retries":17}}"#,
            "bad_value",
            "defaults.retries",
        ),
        (
            r#"{"defaults":{"sticky":{"ttl":"0s"}}}"#,
            "bad_value",
            "defaults.sticky.ttl",
        ),
        (
            r#"{"defaults":{"balance":"hash"}}"#,
            "missing_field",
            "defaults.hash_by",
        ),
        (
            r#"{"defaults":{"retrys":1}}"#,
            "unknown_field",
            "defaults.retrys",
        ),
    ] {
        let answer = api.put(PATH, body).await;
        answer.refused(400, code);
        assert_eq!(answer.json()["field"], field, "{}", answer.text);
    }
    let answer = api.put(PATH, r#"{"defaults":{"scheme":"h2c"}}"#).await;
    answer.refused(422, "not_supported");
    assert_eq!(api.store.revision(), 1, "nothing was written");
}
