//! A real Prometheus with the shipped configuration, only faster, and promtool.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::{Process, Spec, http, ports, programs};
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::PATIENCE;

const HINT: &str =
    "`make deps` installs it on Debian; POINTSMAN_SKIP_PROMETHEUS=1 leaves this test out";
const SKIP: &str = "POINTSMAN_SKIP_PROMETHEUS";
/// What the shipped files have, and what is tested: nobody waits for minutes.
const INTERVAL: (&str, &str) = ("_interval: 15s", "_interval: 500ms");
const TARGETS: [&str; 2] = [
    r#"["10.0.0.1:8082", "10.0.0.2:8082"]"#,
    r#"["10.0.0.11:8081", "10.0.0.12:8081"]"#,
];

/// Whether what needs Prometheus is left out.
pub fn is_left_out() -> bool {
    let left_out = std::env::var(SKIP).is_ok_and(|value| value == "1");
    if left_out {
        eprintln!("{SKIP}=1: dashboard and alerts are NOT tested");
    }
    left_out
}

/// Runs promtool on a file; it must find nothing wrong.
pub async fn promtool<const N: usize>(args: [&str; N], file: &Path) {
    run(
        args.map(OsStr::new).into_iter().chain([file.as_os_str()]),
        b"",
    )
    .await;
}

/// Has promtool judge a page of metrics.
pub async fn check_metrics(page: &[u8]) {
    run(["check", "metrics"].map(OsStr::new).into_iter(), page).await;
}

async fn run(args: impl Iterator<Item = &OsStr>, input: &[u8]) {
    let program = programs::find("promtool", HINT).unwrap();
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&text)
    );
}

/// Prometheus, which follows these edges and agents by the shipped files.
pub struct Prometheus {
    process: Process,
    addr: SocketAddr,
}

impl Prometheus {
    pub async fn start(sandbox: &Sandbox, edge: SocketAddr, agents: &[SocketAddr]) -> Self {
        let dir = sandbox.dir().join("prometheus");
        std::fs::create_dir(&dir).unwrap();
        let quoted = |addrs: &[SocketAddr]| {
            let addrs: Vec<_> = addrs.iter().map(ToString::to_string).collect();
            format!("{addrs:?}")
        };
        let mut config = crate::read("prometheus.yml").replace(INTERVAL.0, INTERVAL.1);
        for (old, new) in TARGETS.into_iter().zip([quoted(&[edge]), quoted(agents)]) {
            assert!(config.contains(old), "no {old} in prometheus.yml");
            config = config.replace(old, &new);
        }
        std::fs::write(dir.join("prometheus.yml"), config).unwrap();
        // Alerts fire at once. That they wait is for promtool to test.
        let rules = crate::read("alerts.yml");
        let rules = rules.lines().filter(|line| !line.contains(" for: "));
        let rules: Vec<_> = rules.collect();
        std::fs::write(dir.join("alerts.yml"), rules.join("\n")).unwrap();

        let addr = ports::free_loopback();
        let args = [
            format!("--config.file={}", dir.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", dir.join("data").display()),
            format!("--web.listen-address={addr}"),
            "--log.level=warn".to_owned(),
        ];
        let program = programs::find("prometheus", HINT).unwrap();
        let spec = Spec::new("prometheus", program, args, &sandbox.logs());
        let mut process = Process::spawn(&sandbox.launcher, spec).unwrap();
        process
            .answers(PATIENCE, async || {
                let answer = http::get(addr, "localhost", "/-/ready").await;
                match answer.map_err(|error| error.to_string())?.status.as_u16() {
                    200 => Ok(()),
                    status => Err(status.to_string()),
                }
            })
            .await
            .unwrap();
        Self { process, addr }
    }

    async fn get(&self, path: &str) -> Value {
        let answer = http::get(self.addr, "localhost", path).await.unwrap();
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["status"], "success", "{path}: {body}");
        body["data"].clone()
    }

    /// The values that a query has now.
    pub async fn query(&self, expr: &str) -> Vec<f64> {
        let query = utf8_percent_encode(expr, NON_ALPHANUMERIC);
        let data = self.get(&format!("/api/v1/query?query={query}")).await;
        assert_eq!(data["resultType"], "vector", "{expr}");
        let samples = data["result"].as_array().unwrap().iter();
        let values = samples.map(|sample| sample["value"][1].as_str().unwrap().parse());
        values.map(Result::unwrap).collect()
    }

    /// The alerts that fire: each name, with what its labels say it is about.
    pub async fn firing(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let data = self.get("/api/v1/alerts").await;
        let alerts = data["alerts"].as_array().unwrap().iter();
        let alerts = alerts.filter(|alert| alert["state"] == "firing");
        let mut all: Vec<_> = alerts
            .map(|alert| {
                let mut labels: BTreeMap<String, String> =
                    serde_json::from_value(alert["labels"].clone()).unwrap();
                labels.remove("severity");
                (labels.remove("alertname").unwrap(), labels)
            })
            .collect();
        all.sort();
        all
    }

    /// Stops it.
    pub async fn stop(mut self) {
        self.process.stop(Duration::from_secs(5)).await;
    }
}
