//! Applying files: again and again, from other machines, beside others, and
//! halfway.

use axum::http::Method;
use serde_json::json;

use crate::shell::Shell;

const TWO: &str =
    "kind: App\napp: shop\nretries: 2\n---\nkind: Route\nhost: shop.test\napp: shop\n";
const ONE: &str = "kind: App\napp: shop\nretries: 2\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_exported_is_applied_to_an_empty_registry_and_exported_again() {
    let shell = Shell::start().await;
    let rules = r#"{"rules":[{"path":"/old","redirect":{"status":301,"path":"/new"}},
        {"path":"/api","when":[{"method":["PUT","POST"]},{"header":"X-Yes","exact":"yes"}],
         "to":[{"app":"writer"}],"strip_prefix":true},
        {"maintenance":{"retry_after":"2m","body":"Back: \"soon\"\n # 1.0","content_type":"text/plain"}}]}"#;
    shell
        .done(&format!(
            "pointsman set route '*.shop.test' --json '{rules}'"
        ))
        .await;
    shell.done("pointsman set route shop.test app=shop").await;
    shell
        .done("pointsman set app shop retries=2 'fail_on=[\"5xx\"]' sticky.ttl=1h")
        .await;
    shell
        .done("pointsman set instance shop/7 addr=[::1]:80 zone=1 shared=true")
        .await;
    shell
        .done("pointsman set settings 'allowed_networks=[\"::/0\",\"::1/128\"]'")
        .await;
    let before = shell.done("pointsman export | tee all.yaml").await;
    let as_json = shell.done("pointsman export -o json | tee all.json").await;
    let unchanged = shell.done("pointsman apply -f all.yaml --dry-run").await;
    assert_eq!(unchanged, "5 unchanged\n", "{before}");
    for file in ["all.yaml", "all.json"] {
        shell.done("pointsman apply -f all.yaml --set all").await;
        shell.write("one.yaml", ONE);
        shell
            .done("pointsman apply -f one.yaml --set all --prune")
            .await;
        shell.done("pointsman delete app shop").await;
        assert_eq!(shell.done("pointsman export").await, "");
        shell
            .done(&format!("pointsman apply -f {file} --wait 10s"))
            .await;
        assert_eq!(shell.done("pointsman export").await, before);
        assert_eq!(shell.done("pointsman export -o json").await, as_json);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prune_deletes_what_its_own_set_applied_and_nothing_else() {
    let shell = Shell::start().await;
    shell.write("two.yaml", TWO);
    shell.write("one.yaml", ONE);
    shell.done("pointsman set route other.test app=shop").await;
    shell
        .done("pointsman apply -f two.yaml --set shop --prune")
        .await;
    // Another set has the route, too: it stays.
    shell.write("route.yaml", "kind: Route\nhost: shop.test\napp: shop\n");
    shell
        .done("pointsman apply -f route.yaml --set other")
        .await;
    shell
        .done("pointsman apply -f one.yaml --set shop --prune")
        .await;
    shell.done("pointsman get route shop.test").await;
    // Without --prune, nothing is deleted, and nothing forgotten.
    shell.write("settings.yaml", "kind: Settings\ndefaults: {retries: 1}\n");
    shell
        .done("pointsman apply -f settings.yaml --set other")
        .await;
    let members = shell.done("pointsman get set other").await;
    assert_eq!(members, "routes/shop.test\nsettings\n");
    let text = shell
        .done("pointsman apply -f settings.yaml --set other --prune")
        .await;
    assert_eq!(text, "settings unchanged\nroute shop.test deleted\n");
    shell.done("pointsman get route other.test").await;
    shell.done("pointsman get app shop").await;
    // Files that some tool left empty do not empty the registry.
    shell.write("none.yaml", "---\n---\n");
    let refused = shell
        .run("pointsman apply -f none.yaml --set other --prune")
        .await;
    assert_eq!(refused.code, 1, "{refused:?}");
    let usage = shell.run("pointsman apply -f one.yaml --prune").await;
    assert_eq!(usage.code, 2, "{usage:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_middle_says_what_was_done_and_the_next_run_goes_on() {
    let shell = Shell::start().await;
    shell.write("two.yaml", TWO);
    shell.done("pointsman apply -f two.yaml --set shop").await;
    // Right by itself, and more than the agent takes in one body.
    let body = "\u{1}".repeat(4096);
    let rules = (0..64).map(|n| {
        let maintenance = json!({ "body": body, "content_type": "text/plain" });
        json!({ "path": format!("/{n}"), "maintenance": maintenance })
    });
    let rules: Vec<_> = rules.collect();
    let large = json!({ "kind": "Route", "host": "large.test", "rules": rules });
    shell.write("large.json", &large.to_string());
    shell.write(
        "more.yaml",
        "kind: App\napp: blog\n---\nkind: Route\nhost: blog.test\napp: blog\n",
    );
    let failed = shell
        .run("pointsman apply -f large.json more.yaml --set shop --prune")
        .await;
    assert_eq!(failed.code, 1, "{failed:?}");
    for part in [
        "app blog created\n",
        "pointsman: route large.test: ",
        "(body_too_large)",
        "(1 of 5 are applied; not applied after it: route blog.test, route shop.test, app shop)",
    ] {
        assert!(failed.text.contains(part), "{part}: {}", failed.text);
    }
    // What was applied by both runs is known to the set.
    let members = shell.done("pointsman get set shop").await;
    for key in ["apps/blog", "apps/shop", "routes/shop.test"] {
        assert!(members.contains(key), "{members}");
    }
    let text = shell
        .done("pointsman apply -f more.yaml --set shop --prune")
        .await;
    let expected = "app blog unchanged\nroute blog.test created\nroute shop.test deleted\n\
                    app shop deleted\n";
    assert_eq!(text, expected);
    let members = shell.done("pointsman get set shop").await;
    assert_eq!(members, "routes/blog.test\napps/blog\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_where_the_settings_allow_none_is_refused_before_the_first_write() {
    let shell = Shell::start().await;
    shell.write(
        "all.yaml",
        "kind: App\napp: shop\n---\nkind: Instance\napp: shop\nid: a\naddr: 10.0.0.5:80\n",
    );
    let settings = json!({ "allowed_networks": ["192.168.0.0/16"] });
    let put = shell
        .world
        .api(Method::PUT, "/v1/settings", &settings)
        .await;
    assert!(put.status.is_success());
    let refused = shell.run("pointsman apply -f all.yaml").await;
    assert_eq!(refused.code, 1);
    let place = "pointsman: all.yaml, document 2, line 4: 10.0.0.5:80 is in none of the networks";
    assert!(refused.text.starts_with(place), "{}", refused.text);
    let gone = shell.run("pointsman get app shop").await;
    assert_eq!(gone.code, 1, "{}", gone.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_at_the_same_time_that_want_the_same_all_succeed() {
    let shell = Shell::start().await;
    shell.write(
        "all.yaml",
        "kind: App\napp: shop\n---\nkind: Instance\napp: shop\nid: a\naddr: 127.0.0.1:9\n\
         ---\nkind: Route\nhost: shop.test\napp: shop\n",
    );
    // By process id: `wait -n` may miss one that has ended already.
    let line = "runs=; for n in 1 2 3 4 5 6; do pointsman apply -f all.yaml & runs=\"$runs $!\"; done; \
                for run in $runs; do wait $run || exit 7; done";
    for _ in 0..3 {
        shell.done(line).await;
        let all = "pointsman delete route shop.test; pointsman delete app shop; \
                   pointsman delete instance shop/a";
        shell.done(all).await;
    }
}
