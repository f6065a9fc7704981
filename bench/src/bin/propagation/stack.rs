//! The services that are measured, on free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use etcd_client::{Client, Txn, TxnOp};
use pointsman::dev::process::Launcher;
use pointsman::dev::services::{
    Agent, AgentConfig, Etcd, EtcdConfig, Nginx, NginxConfig, Redis, RedisConfig,
};
use pointsman::dev::{Source, http, ports, wait};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The app that changes, and its host.
pub const HOST: &str = "bench.example";
pub const APP: &str = "bench";

const WORKER_LOCATION: &str = "        location = /_worker { return 200 $pid; }\n";
const PATIENCE: Duration = Duration::from_secs(60);
/// Operations of one transaction: etcd's own limit is 128.
const CHUNK: usize = 100;

/// All of it.
pub struct Stack {
    pub etcd_url: String,
    pub edge: SocketAddr,
    pub workers: usize,
    /// The instance that comes and goes.
    pub instance: SocketAddr,
    services: pointsman::dev::Stack,
    _dir: TempDir,
}

impl Stack {
    /// Starts it, and waits until all answer and all routes are there.
    pub async fn start(agents: usize, workers: usize, routes: usize) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("pointsman-bench-")
            .tempdir()?;
        let logs = dir.path().join("logs");
        std::fs::create_dir(&logs)?;
        let launcher = Launcher::new(pointsman()?);
        let source = Source::around(Path::new("."))?;
        let mut services = pointsman::dev::Stack::default();

        let etcd = Etcd::spawn(
            &launcher,
            &EtcdConfig {
                client: ports::free_loopback(),
                peer: ports::free_loopback(),
                data_dir: dir.path().join("etcd"),
                log_dir: logs.clone(),
            },
        )?;
        let etcd_url = etcd.url();
        services.add(etcd).await?;
        let redis = Redis::spawn(
            &launcher,
            &RedisConfig {
                listen: ports::free_loopback(),
                data_dir: dir.path().join("redis"),
                log_dir: logs.clone(),
            },
        )?;
        let redis_url = redis.url();
        services.add(redis).await?;
        let last = fill(&etcd_url, routes).await?;
        for number in 1..=agents {
            let config = AgentConfig {
                id: format!("agent-{number}"),
                admin: ports::free_loopback(),
                etcd_url: etcd_url.clone(),
                redis_url: redis_url.clone(),
                more_args: Vec::new(),
                log_dir: logs.clone(),
            };
            services.add(Agent::spawn(&launcher, &config)?).await?;
        }
        let (edge, status) = (ports::free_loopback(), ports::free_loopback());
        let nginx = NginxConfig {
            source,
            edge,
            status,
            redis_url,
            workers,
            server_lines: WORKER_LOCATION.to_owned(),
            dir: dir.path().join("nginx"),
            log_dir: logs,
        };
        services.add(Nginx::spawn(&launcher, &nginx)?).await?;
        has_applied(status, last).await?;
        let instance = serve().await?;
        Ok(Self {
            etcd_url,
            edge,
            workers,
            instance,
            services,
            _dir: dir,
        })
    }

    /// Stops all of it.
    pub async fn stop(self) {
        self.services.stop().await;
    }
}

/// The agent's binary, which is built beside this one.
fn pointsman() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("pointsman");
    anyhow::ensure!(
        path.is_file(),
        "{} is missing: build it first",
        path.display()
    );
    Ok(path)
}

/// Writes the route that is measured and all others; answers the revision.
async fn fill(etcd_url: &str, routes: usize) -> Result<i64> {
    let client = Client::connect([etcd_url], None).await?;
    let mut operations = vec![put_route(HOST, APP)];
    for number in 0..routes {
        let app = format!("other-{number}");
        operations.push(put_route(&format!("{app}.example"), &app));
        let key = format!("/pointsman/instances/{app}/1");
        // Nobody asks for these; should somebody, it stays on this machine.
        let addr = format!("127.1.{}.{}:9", number / 250, number % 250);
        operations.push(TxnOp::put(key, addr, None));
    }
    let mut revision = 0;
    for chunk in operations.chunks(CHUNK) {
        let done = client.kv_client().txn(Txn::new().and_then(chunk)).await?;
        revision = done.header().map_or(revision, |header| header.revision());
    }
    Ok(revision)
}

fn put_route(host: &str, app: &str) -> TxnOp {
    let rules = format!(r#"{{"rules":[{{"path":"/","to":[{{"app":"{app}"}}]}}]}}"#);
    TxnOp::put(format!("/pointsman/routes/{host}"), rules, None)
}

/// Waits until the edge has the table at this revision.
async fn has_applied(status: SocketAddr, revision: i64) -> Result<()> {
    wait::until("the edge is up to date", PATIENCE, async || {
        let answer = http::get(status, "localhost", "/pointsman/status")
            .await
            .map_err(|error| error.to_string())?;
        let text = answer.text();
        let facts: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let applied = facts["applied"].as_i64();
        if applied >= Some(revision) && facts["feed"]["state"] == "live" {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await
    .context("the table did not arrive at the edge")
}

/// An app in this process.
async fn serve() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(async || "ok")).await });
    Ok(addr)
}
