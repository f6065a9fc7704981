//! etcd, Redis and agents, without nginx.

use std::path::PathBuf;
use std::time::Duration;

use pointsman_dev::process::Launcher;
use pointsman_dev::services::{Agent, AgentConfig, Etcd, EtcdConfig, Redis, RedisConfig, Service};
use pointsman_dev::{http, ports, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::etcd::Registry;

/// Nothing in these tests takes longer: the lease of an agent that was killed
/// runs for 15 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// All of it. Dropped, it is gone; after a failure its logs are kept.
pub struct World {
    launcher: Launcher,
    pub etcd: Etcd,
    redis: Redis,
    pub agents: Vec<Agent>,
    pub registry: Registry,
    dir: Option<TempDir>,
}

impl World {
    /// Starts it with so many agents, and waits until all are ready.
    pub async fn start(agents: usize) -> Self {
        let mut world = Self::start_without_agents().await;
        for number in 1..=agents {
            world.add_agent(&format!("agent-{number}"));
        }
        for agent in &mut world.agents {
            agent.ready().await.unwrap();
        }
        for number in 1..=agents {
            let key = format!("agents/agent-{number}");
            until(&format!("{key} is there"), async || {
                let found = world.registry.get(&key).await;
                found.ok_or_else(|| "it is not".to_owned())
            })
            .await;
        }
        world
    }

    pub async fn start_without_agents() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("pointsman-probe-")
            .tempdir()
            .unwrap();
        let logs = dir.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let program = std::env::var_os("POINTSMAN_BIN").map_or_else(
            || PathBuf::from(env!("CARGO_BIN_EXE_pointsman")),
            PathBuf::from,
        );
        let launcher = Launcher::new(program);
        let mut etcd = Etcd::spawn(
            &launcher,
            &EtcdConfig {
                client: ports::free_loopback(),
                peer: ports::free_loopback(),
                data_dir: dir.path().join("etcd"),
                log_dir: logs.clone(),
            },
        )
        .unwrap();
        let mut redis = Redis::spawn(
            &launcher,
            &RedisConfig {
                listen: ports::free_loopback(),
                data_dir: dir.path().join("redis"),
                log_dir: logs,
            },
        )
        .unwrap();
        etcd.ready().await.unwrap();
        redis.ready().await.unwrap();
        let registry = Registry::connect(&etcd.url()).await;
        Self {
            launcher,
            etcd,
            redis,
            agents: Vec::new(),
            registry,
            dir: Some(dir),
        }
    }

    /// Starts one more agent, and does not wait for it.
    pub fn add_agent(&mut self, id: &str) {
        let config = AgentConfig {
            id: id.to_owned(),
            admin: ports::free_loopback(),
            etcd_url: self.etcd.url(),
            redis_url: self.redis.url(),
            more_args: Vec::new(),
            log_dir: self.dir.as_ref().unwrap().path().join("logs"),
        };
        self.agents
            .push(Agent::spawn(&self.launcher, &config).unwrap());
    }

    /// An instance's record in Redis.
    pub async fn record(&self, app: &str, id: &str) -> Option<String> {
        let client = redis::Client::open(self.redis.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd("HGET");
        command.arg(format!("pointsman:inst:{app}")).arg(id);
        command.query_async(&mut connection).await.unwrap()
    }

    /// GET of an agent's API.
    pub async fn get(&self, agent: usize, path: &str) -> http::Answer {
        let admin = self.agents[agent].admin();
        http::get(admin, &admin.to_string(), path).await.unwrap()
    }

    /// The state of an instance, as an agent shows it.
    pub async fn state(&self, agent: usize, app: &str, id: &str) -> Value {
        let answer = self.get(agent, &format!("/v1/apps/{app}")).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let instances = body["instances"].as_array().cloned().unwrap_or_default();
        let found = instances.into_iter().find(|found| found["id"] == id);
        found.unwrap_or_default()
    }

    /// A metric of an agent; 0 if it is not there.
    pub async fn metric(&self, agent: usize, name: &str) -> f64 {
        let text = self.get(agent, "/metrics").await.text();
        metric(&text, name)
    }
}

/// A line's value in a text of metrics; 0 if it is not there.
pub fn metric(text: &str, name: &str) -> f64 {
    let name = format!("pointsman_agent_{name} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0.0, |value| value.parse().unwrap())
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if let Some(dir) = self.dir.take() {
            eprintln!("the logs are kept in {}", dir.keep().join("logs").display());
        }
        for agent in &mut self.agents {
            let process = agent.process();
            eprintln!("--- {}:\n{}", process.name(), process.log_tail());
        }
    }
}

/// Waits until `probe` answers `Ok`.
pub async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    match wait::until(what, PATIENCE, probe).await {
        Ok(found) => found,
        Err(error) => panic!("{error}"),
    }
}
