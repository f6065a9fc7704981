use super::*;

#[tokio::test]
async fn a_set_is_put_read_listed_and_forgotten() {
    let api = Api::new();
    api.get("/v1/sets/shop").await.refused(404, "not_found");
    let body = r#"{"members":["apps/shop","routes/shop.test"]}"#;
    let first = api.put("/v1/sets/shop", body).await.revision();
    let answer = api.get("/v1/sets/shop").await;
    assert_eq!(answer.header("etag"), format!("\"{first}\""));
    let members = json!(["routes/shop.test", "apps/shop"]);
    let shop = json!({ "set": "shop", "revision": first, "members": members });
    assert_eq!(answer.json(), shop);
    // As many as are read in several pages, and a neighbour behind them.
    for n in 0..250 {
        let path = format!("/v1/sets/t{n:03}");
        api.put(&path, r#"{"members":[]}"#).await.revision();
    }
    let settings = api.put("/v1/settings", "{}").await.revision();
    let list = api.get("/v1/sets").await.json();
    assert_eq!(list["sets"].as_array().unwrap().len(), 251);
    assert_eq!(list["sets"][0], shop);
    assert_eq!(list["revision"], settings);
    api.delete("/v1/sets/shop").await.revision();
    api.delete("/v1/sets/shop").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_set_that_was_changed_meanwhile_is_not_overwritten() {
    let api = Api::new();
    let none = [("if-none-match", "*")];
    let body = r#"{"members":["apps/shop"]}"#;
    let answer = api.call("PUT", "/v1/sets/shop", &none, body).await;
    answer.revision();
    let answer = api.call("PUT", "/v1/sets/shop", &none, body).await;
    answer.refused(412, "precondition_failed");
    let answer = api.put("/v1/sets/a%20b", body).await;
    answer.refused(400, "bad_set");
    let answer = api.put("/v1/sets/a", r#"{"members":["edges/e"]}"#).await;
    answer.refused(400, "bad_value");
    assert_eq!(answer.json()["field"], "members[0]");
}
