//! `pointsman-dev`: it starts, it refuses, and it leaves nothing behind.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::Method;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pointsman_harness::{Process, Spec};
use pointsman_harness::{http, ports, wait};
use tempfile::TempDir;
use tokio::time::timeout;

use pointsman_harness::{launcher, pointsman_dev, source};

/// It starts eight processes, on a machine that may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

const FLAGS: [&str; 8] = [
    "edge-port",
    "status-port",
    "api-port",
    "etcd-port",
    "etcd-peer-port",
    "redis-port",
    "demo-port-1",
    "demo-port-2",
];
const EDGE: usize = 0;
const API: usize = 2;
const REDIS: usize = 5;
const DEMO: usize = 6;

/// A `pointsman-dev` with ports and a folder of its own.
struct Dev {
    process: Process,
    ports: Vec<SocketAddr>,
}

fn free_ports() -> Vec<SocketAddr> {
    FLAGS.iter().map(|_| ports::free_loopback()).collect()
}

impl Dev {
    /// Starts it; the log goes to `<dir>/<name>.log`.
    fn spawn(dir: &Path, name: &str, data: &str, ports: &[SocketAddr]) -> Self {
        let mut args = vec![
            "--data-dir".to_owned(),
            dir.join(data).display().to_string(),
        ];
        args.extend(["--source".to_owned(), source().root().display().to_string()]);
        for (flag, addr) in FLAGS.iter().zip(ports) {
            args.extend([format!("--{flag}"), addr.port().to_string()]);
        }
        let spec = Spec::new(name, pointsman_dev(), args, dir);
        let process = Process::spawn(&launcher(), spec).unwrap();
        Self {
            process,
            ports: ports.to_vec(),
        }
    }

    fn output(&self) -> String {
        std::fs::read_to_string(self.process.log()).unwrap()
    }

    /// Waits until it says that all runs.
    async fn runs(&mut self) {
        let log = self.process.log().to_owned();
        let said = self.process.answers(PATIENCE, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            if text.contains("Ctrl-C stops everything") {
                Ok(())
            } else {
                Err(text)
            }
        });
        said.await.unwrap();
    }

    async fn exit_code(&mut self) -> Option<i32> {
        timeout(PATIENCE, self.process.exited())
            .await
            .unwrap()
            .code()
    }

    /// Waits until nothing listens on its ports and no process names them.
    async fn leaves_nothing(&self, dir: &Path, patience: Duration) {
        wait::until("nothing is left running", patience, async || {
            let left = self.left(dir);
            if left.is_empty() {
                Ok(())
            } else {
                Err(left.join("\n"))
            }
        })
        .await
        .unwrap();
    }

    fn left(&self, dir: &Path) -> Vec<String> {
        let mut marks: Vec<String> = self
            .ports
            .iter()
            .map(|addr| format!("127.0.0.1:{}", addr.port()))
            .collect();
        marks.push(dir.display().to_string());
        let listening = self.ports.iter().filter(|addr| !ports::is_free(**addr));
        let processes = procfs::process::all_processes().unwrap().flatten();
        let named = processes.filter_map(|process| {
            let line = process.cmdline().ok()?.join(" ");
            marks
                .iter()
                .any(|mark| line.contains(mark))
                .then(|| format!("{} {line}", process.pid))
        });
        listening
            .map(|addr| format!("{addr} is taken"))
            .chain(named)
            .collect()
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new()
        .prefix("pointsman-dev-")
        .tempdir()
        .unwrap()
}

async fn title(edge: SocketAddr, host: &str) -> String {
    let answer = http::get(edge, host, "/").await.unwrap();
    assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
    answer.text().lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn it_serves_the_demo_stops_at_ctrl_c_and_keeps_routes() {
    let dir = folder();
    let ports = free_ports();
    let mut dev = Dev::spawn(dir.path(), "first", "data", &ports);
    dev.runs().await;

    let edge = ports[EDGE];
    let one = title(edge, "demo.localhost").await;
    wait::until("the other instance answers, too", PATIENCE, async || {
        let other = title(edge, "demo.localhost").await;
        if other == one { Err(other) } else { Ok(()) }
    })
    .await
    .unwrap();
    let path = "/v1/routes/mine.localhost";
    let bound = http::send_json(ports[API], Method::PUT, path, r#"{"app":"demo"}"#)
        .await
        .unwrap();
    assert!(bound.status.is_success(), "{}", bound.text());

    dev.process.signal(Signal::SIGINT);
    assert_eq!(dev.exit_code().await, Some(0), "{}", dev.output());
    dev.leaves_nothing(dir.path(), Duration::from_millis(200))
        .await;

    let mut again = Dev::spawn(dir.path(), "second", "data", &ports);
    again.runs().await;
    title(edge, "mine.localhost").await;
    again.process.signal(Signal::SIGTERM);
    assert_eq!(again.exit_code().await, Some(0), "{}", again.output());
    again
        .leaves_nothing(dir.path(), Duration::from_millis(200))
        .await;
}

#[tokio::test]
async fn started_twice_it_refuses_and_the_first_one_goes_on() {
    let dir = folder();
    let ports = free_ports();
    let mut first = Dev::spawn(dir.path(), "first", "data", &ports);
    first.runs().await;

    let mut same_folder = Dev::spawn(dir.path(), "same-folder", "data", &ports);
    assert_eq!(same_folder.exit_code().await, Some(1));
    let said = same_folder.output();
    assert!(said.contains("already runs (pid "), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");

    let mut same_ports = Dev::spawn(dir.path(), "same-ports", "data2", &ports);
    assert_eq!(same_ports.exit_code().await, Some(1));
    let said = same_ports.output();
    let edge = ports[EDGE].port();
    assert!(
        said.contains(&format!("port {edge} on 127.0.0.1 is taken by pid ")),
        "{said}"
    );
    assert!(said.contains("EDGE_PORT=…"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");

    title(ports[EDGE], "demo.localhost").await;
    first.process.signal(Signal::SIGINT);
    assert_eq!(first.exit_code().await, Some(0), "{}", first.output());
    first
        .leaves_nothing(dir.path(), Duration::from_millis(200))
        .await;
}

#[tokio::test]
async fn a_port_that_somebody_has_is_named_and_nothing_is_started() {
    let dir = folder();
    let ports = free_ports();
    let taken = std::net::TcpListener::bind(ports[REDIS]).unwrap();
    let mut dev = Dev::spawn(dir.path(), "dev", "data", &ports);
    assert_eq!(dev.exit_code().await, Some(1));
    let said = dev.output();
    assert!(
        said.contains(&format!(
            "port {} on 127.0.0.1 is taken",
            ports[REDIS].port()
        )),
        "{said}"
    );
    assert!(said.contains("REDIS_PORT=…"), "{said}");
    assert_eq!(said.trim().lines().count(), 1, "{said}");
    drop(taken);
    dev.leaves_nothing(dir.path(), Duration::from_millis(200))
        .await;
}

#[tokio::test]
async fn a_service_that_dies_takes_the_rest_with_it_and_is_named() {
    let dir = folder();
    let ports = free_ports();
    let mut dev = Dev::spawn(dir.path(), "dev", "data", &ports);
    dev.runs().await;
    let redis = ports::holder(ports[REDIS]).unwrap();
    kill(Pid::from_raw(redis.pid), Signal::SIGKILL).unwrap();
    assert_eq!(dev.exit_code().await, Some(1));
    let said = dev.output();
    assert!(said.contains("redis ended by itself"), "{said}");
    assert!(said.contains("redis.log"), "{said}");
    dev.leaves_nothing(dir.path(), Duration::from_millis(200))
        .await;
}

#[tokio::test]
async fn an_instance_that_dies_is_told_and_the_other_one_answers() {
    let dir = folder();
    let ports = free_ports();
    let mut dev = Dev::spawn(dir.path(), "dev", "data", &ports);
    dev.runs().await;
    let instance = ports::holder(ports[DEMO]).unwrap();
    kill(Pid::from_raw(instance.pid), Signal::SIGKILL).unwrap();
    wait::until("its end is told", PATIENCE, async || {
        let said = dev.output();
        if said.contains("demo-1 ended by itself") {
            Ok(())
        } else {
            Err(said)
        }
    })
    .await
    .unwrap();
    for _ in 0..10 {
        let answer = http::get(ports[EDGE], "demo.localhost", "/").await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("demo-2"), "{}", answer.text());
    }
    dev.process.signal(Signal::SIGINT);
    assert_eq!(dev.exit_code().await, Some(0));
    dev.leaves_nothing(dir.path(), Duration::from_millis(200))
        .await;
}

#[tokio::test]
async fn killed_without_a_word_it_still_leaves_nothing() {
    let dir = folder();
    let ports = free_ports();
    let mut dev = Dev::spawn(dir.path(), "dev", "data", &ports);
    dev.runs().await;
    // Only itself: its children are in groups of their own.
    dev.process.signal(Signal::SIGKILL);
    dev.exit_code().await;
    dev.leaves_nothing(dir.path(), PATIENCE).await;
}
