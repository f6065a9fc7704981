//! etcd, Redis and agents, without nginx.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pointsman_harness::certificates::Certificates;
use pointsman_harness::records::{self, REDIS_PREFIX};
use pointsman_harness::registry::Registry;
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::services::{AgentProcess, EtcdProcess, RedisProcess, Service};
use pointsman_harness::{Process, Spec, http, launcher, pointsman, ports, wait};
use serde_json::Value;

/// Nothing in these tests takes longer: the lease of an agent that was killed
/// runs for 15 s.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// All of it. Dropped, it is gone; after a failure its logs are kept.
pub struct World {
    sandbox: Sandbox,
    pub etcd: EtcdProcess,
    redis: RedisProcess,
    pub agents: Vec<AgentProcess>,
    pub registry: Registry,
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
        let sandbox = Sandbox::new("pointsman-probe-");
        let mut etcd = sandbox.etcd().unwrap();
        let mut redis = sandbox.redis("redis").unwrap();
        etcd.ready().await.unwrap();
        redis.ready().await.unwrap();
        let registry = Registry::connect(&etcd.url()).await;
        Self {
            sandbox,
            etcd,
            redis,
            agents: Vec::new(),
            registry,
        }
    }

    /// Starts one more agent, and does not wait for it.
    pub fn add_agent(&mut self, id: &str) {
        let (etcd, redis) = (self.etcd.url(), self.redis.url());
        let agent = self.sandbox.agent(id, &etcd, &redis, &[]);
        self.agents.push(agent.unwrap());
    }

    /// Starts one with a variable in its environment; it is not one of
    /// `agents`. Answers where its API is.
    pub fn spawn_agent(&self, id: &str, name: &str, value: &str) -> (Process, SocketAddr) {
        let admin = ports::free_loopback();
        let (etcd, redis, listen) = (self.etcd.url(), self.redis.url(), admin.to_string());
        let args = [
            "serve",
            "--id",
            id,
            "--etcd-endpoints",
            &etcd,
            "--redis-url",
            &redis,
        ];
        let args = args.into_iter().chain(["--admin-listen", &listen]);
        let spec = Spec::new(id, pointsman(), args, &self.sandbox.logs());
        let process = Process::spawn(&launcher(), spec.env(name, value));
        (process.unwrap(), admin)
    }

    /// Starts a server that answers 200 over TLS, by its certificate for
    /// 127.0.0.1.
    pub fn tls_server(&self, certificates: &Certificates) -> (Process, SocketAddr) {
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_loopback().port()));
        let (accept, cert) = (addr.to_string(), certificates.path("server.pem"));
        let key = certificates.path("server.key");
        let args = [
            "s_server", "-www", "-accept", &accept, "-cert", &cert, "-key", &key,
        ];
        let spec = Spec::new("openssl", "openssl", args, &self.sandbox.logs());
        let process = Process::spawn(&launcher(), spec);
        (process.unwrap(), addr)
    }

    /// An instance's record in Redis.
    pub async fn record(&self, app: &str, id: &str) -> Option<String> {
        let mut connection = records::connect(&self.redis.url()).await.unwrap();
        let mut command = redis::cmd("HGET");
        command.arg(format!("{REDIS_PREFIX}inst:{app}")).arg(id);
        command.query_async(&mut connection).await.unwrap()
    }

    /// GET of an agent's API.
    pub async fn get(&self, agent: usize, path: &str) -> http::HttpAnswer {
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
        eprintln!("the logs are kept in {}", self.sandbox.keep().display());
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
