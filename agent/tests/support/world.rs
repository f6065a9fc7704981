//! etcd, Redis, agents and nginx, as real processes.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use pointsman_dev::process::Launcher;
use pointsman_dev::services::{
    Agent, AgentConfig, Etcd, EtcdConfig, Nginx, NginxConfig, Redis, RedisConfig, Register,
    RegisterConfig, Service,
};
use pointsman_dev::{Source, http, ports, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::etcd::Registry;
use super::workers::Workers;
use super::{PATIENCE, launcher, registry, repository};

/// For requests that say which worker took them.
const WORKER_LOCATION: &str = "        location = /_worker { return 200 $pid; }\n";

/// All of it. Dropped, it is gone; after a failure its logs are kept.
pub struct World {
    pub launcher: Launcher,
    pub etcd: Etcd,
    pub redis: Redis,
    pub agents: Vec<Agent>,
    pub nginx: Nginx,
    workers: usize,
    dir: Option<TempDir>,
}

impl World {
    /// Starts it with so many agents and nginx workers, and waits until all
    /// answer.
    pub async fn start(agents: usize, workers: usize) -> Self {
        Self::with_server_lines(agents, workers, "").await
    }

    /// The same with more lines in the server that takes requests.
    pub async fn with_server_lines(agents: usize, workers: usize, lines: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("pointsman-e2e-")
            .tempdir()
            .unwrap();
        let logs = dir.path().join("logs");
        std::fs::create_dir(&logs).unwrap();
        let launcher = launcher();
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
                log_dir: logs.clone(),
            },
        )
        .unwrap();
        etcd.ready().await.unwrap();
        redis.ready().await.unwrap();
        let nginx = NginxConfig {
            source: Source::at(&repository()).unwrap(),
            edge: ports::free_loopback(),
            status: ports::free_loopback(),
            redis_url: redis.url(),
            workers,
            server_lines: format!("{WORKER_LOCATION}{lines}"),
            dir: dir.path().join("nginx"),
            log_dir: logs.clone(),
        };
        let mut nginx = Nginx::spawn(&launcher, &nginx).unwrap();
        nginx.ready().await.unwrap();
        let mut world = Self {
            launcher,
            etcd,
            redis,
            agents: Vec::new(),
            nginx,
            workers,
            dir: Some(dir),
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
        let config = AgentConfig {
            id: id.to_owned(),
            admin: ports::free_loopback(),
            etcd_url: self.etcd.url(),
            redis_url: self.redis.url(),
            // Often, so that what it does, and at rest it does nothing, shows.
            more_args: vec!["--reconcile=3s".into()],
            log_dir: self.dir().join("logs"),
        };
        self.agents
            .push(Agent::spawn(&self.launcher, &config).unwrap());
    }

    /// The temporary folder.
    pub fn dir(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    /// A client of etcd that writes the registry's keys.
    pub async fn registry(&self) -> Registry {
        Registry::connect(&self.etcd.url()).await
    }

    /// A connection to Redis.
    pub async fn redis_connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.redis.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    /// One kept connection to each nginx worker.
    pub async fn workers(&self) -> Workers {
        Workers::connect(self.nginx.edge(), self.workers).await
    }

    /// A demo instance under `pointsman register`, ready and registered.
    pub async fn register(&self, app: &str, id: &str, ttl: Duration) -> Register {
        let mut register = self.spawn_register(app, id, ports::free_loopback(), ttl);
        register.ready().await.unwrap();
        register
    }

    /// The same at a chosen address, not waited for.
    pub fn spawn_register(&self, app: &str, id: &str, addr: SocketAddr, ttl: Duration) -> Register {
        let config = RegisterConfig {
            app: app.to_owned(),
            id: id.to_owned(),
            addr,
            ttl,
            etcd_url: self.etcd.url(),
            log_dir: self.dir().join("logs"),
        };
        Register::spawn(&self.launcher, &config).unwrap()
    }

    /// A call of the admin API of the first agent.
    pub async fn api(&self, method: Method, path: &str, body: &Value) -> http::Answer {
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
        let mut redis = self.redis_connection().await;
        wait::until("Redis holds what etcd derives to", PATIENCE, async || {
            let expected = registry::derived(&registry::fresh_table(&self.etcd.url()).await);
            let differences = registry::differences(&expected, &registry::held(&mut redis).await?);
            if differences.is_empty() {
                Ok(())
            } else {
                Err(differences.join("\n"))
            }
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
        if let Some(dir) = self.dir.take() {
            eprintln!("the logs are kept in {}", dir.keep().join("logs").display());
        }
        for agent in &mut self.agents {
            let process = agent.process();
            eprintln!("--- {}:\n{}", process.name(), process.log_tail());
        }
        eprintln!("--- nginx:\n{}", self.nginx.process().log_tail());
    }
}
