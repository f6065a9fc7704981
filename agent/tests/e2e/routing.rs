//! The examples of `docs/routing.md`, run as a reader would run them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;

use axum::Router;
use axum::extract::Request;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::world::World;
use pointsman_harness::source;

use crate::support::PATIENCE;

/// The instances that the examples speak of.
const INSTANCES: [&str; 5] = ["web-1", "api-1", "canary-1", "many-1", "many-2"];

/// A command, and what the document says that it prints.
struct Example {
    command: String,
    expected: String,
}

/// All examples of the blocks marked `sh`.
fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => inside = line == "```sh",
            _ if !inside => {}
            Some(command) => found.push(Example {
                command: command.to_owned(),
                expected: String::new(),
            }),
            None => {
                let last = found.last_mut().expect("output before a command");
                last.expected.push_str(line);
                last.expected.push('\n');
            }
        }
    }
    found
}

/// An app that tells who it is; `/echo` shows the request line and its headers.
async fn answer(id: &'static str, request: Request) -> String {
    if !request.uri().path().starts_with("/echo") {
        return format!("{id}\n");
    }
    let mut text = format!("{} {} HTTP/1.1\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
    }
    text
}

async fn start_instance(servers: &mut JoinSet<()>, id: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = Router::new().fallback(async move |request| answer(id, request).await);
    servers.spawn(async move { axum::serve(listener, app).await.unwrap() });
    addr
}

async fn run(command: &str, world: &World, dir: &Path) -> Output {
    let command = command
        .replace("127.0.0.1:8081", &world.agents[0].admin().to_string())
        .replace("127.0.0.1:8080", &world.nginx.edge().to_string())
        .replace("curl ", "curl -sS ");
    let shell = Command::new("bash")
        .args(["-c", &command])
        .current_dir(dir)
        .output();
    timeout(PATIENCE, shell).await.unwrap().unwrap()
}

/// Revisions differ from run to run.
fn without_revision(text: &str) -> String {
    match text.strip_prefix("{\"revision\":") {
        Some(rest) => {
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            // The examples are about something else than what they are warned of.
            let rest = rest.split(",\"warnings\":").next().unwrap_or(rest);
            format!(
                "{{\"revision\":N{}\n",
                rest.trim_end().trim_end_matches('}').to_owned() + "}"
            )
        }
        None => text.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_document_do_what_it_says() {
    let world = World::start(1, 1).await;
    let registry = world.registry().await;
    let mut servers = JoinSet::new();
    for id in INSTANCES {
        let addr = start_instance(&mut servers, id).await;
        let (app, _) = id.split_once('-').unwrap();
        registry.put_instance(app, id, addr).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(source().root().join("docs/routing.md")).unwrap();
    let examples = examples(&text);
    assert!(examples.len() > 40, "only {} examples", examples.len());
    for Example { command, expected } in examples {
        let mut printed = String::new();
        // A change takes a moment to reach the edge; then it stays.
        for _ in 0..50 {
            let output = run(&command, &world, dir.path()).await;
            assert!(
                output.stderr.is_empty(),
                "{command}\n{}",
                String::from_utf8_lossy(&output.stderr)
            );
            printed = without_revision(&String::from_utf8_lossy(&output.stdout).replace('\r', ""));
            if !printed.is_empty() && !printed.ends_with('\n') {
                printed.push('\n');
            }
            if printed == expected {
                break;
            }
            sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(printed, expected, "{command}");
    }
}
