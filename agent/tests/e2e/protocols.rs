//! HTTP/2 from clients, gRPC to apps.

use std::process::Stdio;
use std::time::Duration;

use axum::http::Method;
use etcd_client::Client;
use pointsman_harness::ports;
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::PATIENCE;
use crate::support::world::World;
use pointsman_harness::upstreams::Upstreams;

/// etcd speaks gRPC, unary and in streams of both directions: here it is the
/// app, and its own client asks it by way of the edge. A watch is a request
/// whose body does not end before its answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_passes_unary_calls_and_streams_of_both_directions() {
    let listen = ports::free_loopback();
    let lines = format!(
        "        listen {listen} http2;\n        location /etcdserverpb. {{\n            \
         include pointsman/location.conf;\n            \
         proxy_request_buffering off;\n        }}\n"
    );
    let world = World::with_server_lines(1, 1, &lines).await;
    let registry = world.registry().await;
    let policy = json!({ "scheme": "grpc", "read_timeout": "1h" });
    let answer = world.api(Method::PUT, "/v1/apps/etcd", &policy).await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let addr = world.etcd.url().replace("http://", "");
    registry.put_instance("etcd", "etcd-1", addr).await;
    world.bind("127.0.0.1", "etcd").await;

    // The host is not cached at first, later it is.
    for round in 0..3 {
        let client = Client::connect([format!("http://{listen}")], None)
            .await
            .unwrap();
        let key = format!("grpc/{round}");
        let mut watch = client
            .watch_client()
            .watch(key.as_str(), None)
            .await
            .unwrap();
        let calls = async {
            let mut kv = client.kv_client();
            kv.put(key.as_str(), "through nginx", None).await.unwrap();
            let found = kv.get(key.as_str(), None).await.unwrap();
            assert_eq!(found.kvs()[0].value(), b"through nginx");
            loop {
                let message = watch.message().await.unwrap().unwrap();
                if let Some(event) = message.events().first() {
                    assert_eq!(event.kv().unwrap().key(), key.as_bytes());
                    break;
                }
            }
        };
        timeout(Duration::from_secs(20), calls).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_may_speak_http_2() {
    let listen = ports::free_loopback();
    let world = World::with_server_lines(1, 1, &format!("        listen {listen} http2;\n")).await;
    let upstreams = Upstreams::start(1).await;
    let registry = world.registry().await;
    registry.put_instance("shop", "a", upstreams.addrs[0]).await;
    world.bind("shop.example", "shop").await;
    world.settles_at("shop.example", 200, None).await;

    for options in [vec![], vec!["-d", "body"]] {
        let curl = Command::new("curl")
            .args(["-sS", "--http2-prior-knowledge", "-H", "Host: shop.example"])
            .args(["-w", "%{http_version} %{http_code}"])
            .args(options)
            .arg(format!("http://{listen}/"))
            .stdin(Stdio::null())
            .output();
        let output = timeout(PATIENCE, curl).await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, "ok\n2 200", "{output:?}");
    }
}
