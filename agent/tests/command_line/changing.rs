//! Single changes, exit codes, and where the agent is.

use crate::shell::Shell;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_at_the_same_time_do_not_undo_each_other() {
    let shell = Shell::start().await;
    shell
        .done("pointsman set instance shop/a addr=127.0.0.1:9 weight=1")
        .await;
    // Each pair reads the same revision, and one of the two must begin again: with
    // routes and policies etcd answers at once, with instances the table.
    let line = "for n in 1 2 3 4; do \
                pointsman set app shop retries=$n & pointsman set app shop max_conns=$n & \
                pointsman set instance shop/a weight=$n & pointsman set instance shop/a zone=z$n & \
                wait; done";
    let text = shell.done(line).await;
    assert!(!text.contains("pointsman:"), "{text}");
    let app = shell.done("pointsman get app shop").await;
    assert_eq!(app, "retries: 4\nmax_conns: 4\n");
    let instance = shell.done("pointsman get instance shop/a -o json").await;
    assert!(instance.contains("\"weight\": 4,"), "{instance}");
    assert!(instance.contains("\"zone\": \"z4\""), "{instance}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exit_codes_say_how_it_ended() {
    let shell = Shell::start().await;
    for (line, code, said) in [
        (
            "pointsman set route shop.test app=shop --wait 10s",
            0,
            "live on every edge",
        ),
        ("pointsman get route nothing.test", 1, "(not_found)"),
        (
            "pointsman get route nothing.test -o json",
            1,
            "\"code\": \"not_found\"",
        ),
        ("pointsman get routez", 2, "'routes'"),
        ("pointsman set app shop", 2, "nothing is to be changed"),
        ("pointsman set app shop retries", 2, "FIELD=VALUE"),
        ("pointsman --nothing", 2, "--nothing"),
        (
            "pointsman get routes --api http://127.0.0.1:1",
            1,
            "no agent answers",
        ),
        (
            "pointsman get routes --api 127.0.0.1",
            2,
            "give http://host:port",
        ),
    ] {
        let printed = shell.run(line).await;
        assert_eq!(printed.code, code, "{line}: {}", printed.text);
        assert!(printed.text.contains(said), "{line}: {}", printed.text);
        assert!(!printed.text.contains('\x1b'), "{line}: {}", printed.text);
    }
    // An edge that was heard from, and is silent: the write is made, and not live
    // everywhere in time.
    let registry = shell.world.registry().await;
    registry.put("edges/silent", "{}").await;
    shell.write("app.yaml", "kind: App\napp: shop\nretries: 2\n");
    for line in [
        "pointsman apply -f app.yaml --wait 0s",
        "pointsman set app shop retries=3 --wait 0s",
        "pointsman delete route shop.test --wait 0s",
    ] {
        let printed = shell.run(line).await;
        assert_eq!(printed.code, 3, "{line}: {}", printed.text);
        assert!(
            printed.text.contains("(not_live)"),
            "{line}: {}",
            printed.text
        );
        assert!(
            printed.text.contains("\nsilent "),
            "{line}: {}",
            printed.text
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_file_names_the_agent() {
    let shell = Shell::start().await;
    let api = shell.api();
    shell
        .done("mkdir -p .config/pointsman other/pointsman")
        .await;
    shell.write(
        ".config/pointsman/config.toml",
        &format!("api = \"{api}\"\n"),
    );
    shell.done("env -u POINTSMAN_API pointsman status").await;
    shell.write(
        "other/pointsman/config.toml",
        "api = \"http://127.0.0.1:1\"\n",
    );
    let line = "XDG_CONFIG_HOME=$PWD/other env -u POINTSMAN_API pointsman status";
    assert_eq!(shell.run(line).await.code, 1);
    shell
        .done("XDG_CONFIG_HOME=$PWD/other pointsman status")
        .await;
    shell.write("other/pointsman/config.toml", "apy = \"x\"\n");
    let printed = shell.run(line).await;
    assert_eq!(printed.code, 2);
    assert!(
        printed.text.contains("config.toml, line 1: "),
        "{}",
        printed.text
    );
}
