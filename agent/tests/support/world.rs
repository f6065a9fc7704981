//! etcd, Redis, agents and nginx, as real processes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use pointsman_harness::records;
use pointsman_harness::registry::Registry;
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::services::{
    AgentProcess, EtcdProcess, NginxProcess, RedisProcess, RegisterProcess, Service,
};
use pointsman_harness::workers::Workers;
use pointsman_harness::{http, ports, wait};
use serde_json::{Value, json};

use super::PATIENCE;

/// All of it. Dropped, it is gone; after a failure its logs are kept.
pub struct World {
    pub sandbox: Sandbox,
    pub etcd: EtcdProcess,
    pub redis: RedisProcess,
    pub agents: Vec<AgentProcess>,
    pub nginx: NginxProcess,
    pub workers: usize,
}

impl World {
    /// Starts it with so many agents and nginx workers, and waits until all
    /// answer.
    pub async fn start(agents: usize, workers: usize) -> Self {
        Self::with_server_lines(agents, workers, "").await
    }

    /// The same with more lines in the server that takes requests.
    pub async fn with_server_lines(agents: usize, workers: usize, lines: &str) -> Self {
        let sandbox = Sandbox::new("pointsman-e2e-");
        let mut etcd = sandbox.etcd().unwrap();
        let mut redis = sandbox.redis("redis").unwrap();
        etcd.ready().await.unwrap();
        redis.ready().await.unwrap();
        let mut nginx = sandbox.nginx(&redis.url(), workers, lines).unwrap();
        nginx.ready().await.unwrap();
        let mut world = Self {
            sandbox,
            etcd,
            redis,
            agents: Vec::new(),
            nginx,
            workers,
        };
        for number in 1..=agents {
            world.add_agent(&format!("agent-{number}"));
        }
        for agent in &mut world.agents {
            agent.ready().await.unwrap();
        }
        if agents > 0 {
            world.edge_follows().await;
        }
        world
    }

    /// Waits until the edge follows the table: before, it caches nothing.
    pub async fn edge_follows(&self) {
        wait::until("the edge follows the table", PATIENCE, async || {
            let status = self.edge_status().await;
            match status["feed"]["state"].as_str() {
                Some("live") => Ok(()),
                _ => Err(status.to_string()),
            }
        })
        .await
        .unwrap();
    }

    /// Starts one more agent, and does not wait for it.
    pub fn add_agent(&mut self, id: &str) {
        // Often, so that what it does, and at rest it does nothing, shows.
        let often = ["--reconcile=3s".into()];
        let (etcd, redis) = (self.etcd.url(), self.redis.url());
        let agent = self.sandbox.agent(id, &etcd, &redis, &often);
        self.agents.push(agent.unwrap());
    }

    /// The temporary folder.
    pub fn dir(&self) -> &Path {
        self.sandbox.dir()
    }

    /// A client of etcd that writes the registry's keys.
    pub async fn registry(&self) -> Registry {
        Registry::connect(&self.etcd.url()).await
    }

    /// A connection to Redis.
    pub async fn redis_connection(&self) -> redis::aio::MultiplexedConnection {
        records::connect(&self.redis.url()).await.unwrap()
    }

    /// One kept connection to each nginx worker.
    pub async fn workers(&self) -> Workers {
        Workers::connect(self.nginx.edge(), self.workers).await
    }

    /// A demo instance under `pointsman register`, ready and registered.
    pub async fn register(&self, app: &str, id: &str, ttl: Duration) -> RegisterProcess {
        let mut register = self.spawn_register(app, id, ports::free_loopback(), ttl);
        register.ready().await.unwrap();
        register
    }

    /// The same at a chosen address, not waited for.
    pub fn spawn_register(
        &self,
        app: &str,
        id: &str,
        addr: SocketAddr,
        ttl: Duration,
    ) -> RegisterProcess {
        let etcd = self.etcd.url();
        let register = self.sandbox.register(app, id, addr, ttl, &etcd);
        register.unwrap()
    }

    /// A call of the admin API of the first agent.
    pub async fn api(&self, method: Method, path: &str, body: &Value) -> http::HttpAnswer {
        let text = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        http::send_json(self.agents[0].admin(), method, path, &text)
            .await
            .unwrap()
    }

    /// Binds a host to an app over REST; answers the revision.
    pub async fn bind(&self, host: &str, app: &str) -> i64 {
        let path = format!("/v1/routes/{host}");
        let answer = self.api(Method::PUT, &path, &json!({ "app": app })).await;
        assert!(
            answer.status.is_success(),
            "{}: {}",
            answer.status,
            answer.text()
        );
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["revision"].as_i64().unwrap()
    }

    /// Waits until Redis holds what etcd derives to.
    pub async fn in_step(&self) {
        let (registry, mut redis) = (self.registry().await, self.redis_connection().await);
        wait::until("Redis holds what etcd derives to", PATIENCE, async || {
            records::in_step(&registry, &mut redis).await
        })
        .await
        .unwrap();
    }

    /// `/v1/status` of an agent.
    pub async fn status(&self, agent: usize) -> Value {
        let admin = self.agents[agent].admin();
        let answer = http::get(admin, &admin.to_string(), "/v1/status")
            .await
            .unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// The edge's own status.
    pub async fn edge_status(&self) -> Value {
        let answer = http::get(self.nginx.status(), "localhost", "/pointsman/status")
            .await
            .unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Waits until `host` answers with this status and reason on each worker.
    pub async fn settles_at(&self, host: &str, status: u16, reason: Option<&str>) {
        let mut workers = self.workers().await;
        wait::until(
            &format!("{host} answers {status} on each worker"),
            PATIENCE,
            async || {
                for answer in workers.get_all(host, "/").await? {
                    let seen = answer.header("x-pointsman-error");
                    if answer.status.as_u16() != status || seen != reason {
                        return Err(format!(
                            "{} {seen:?} {}",
                            answer.status,
                            answer.text().trim()
                        ));
                    }
                }
                Ok(())
            },
        )
        .await
        .unwrap();
    }
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
        eprintln!("--- nginx:\n{}", self.nginx.process().log_tail());
    }
}
