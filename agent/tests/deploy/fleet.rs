//! etcd, Redis, an agent and three edges, each of which reaches Redis over a
//! relay of its own.

use std::net::SocketAddr;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use pointsman_harness::nginx::Conf;
use pointsman_harness::relay::Relay;
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::services::{
    AgentProcess, EtcdProcess, NginxProgram, RedisProcess, Service as _,
};
use pointsman_harness::workers::Workers;
use pointsman_harness::{Process, http, launcher, ports, wait};
use serde_json::Value;

use crate::PATIENCE;

const WORKERS: usize = 2;

pub struct Fleet {
    pub edges: Vec<Edge>,
    agent: AgentProcess,
    etcd: EtcdProcess,
    redis: RedisProcess,
    sandbox: Sandbox,
}

pub struct Edge {
    /// As the harness's nginx.conf names it.
    pub name: String,
    pub relay: Relay,
    addr: SocketAddr,
    process: Process,
}

/// An answer of the admin API.
pub struct Answer(http::HttpAnswer);

impl Answer {
    #[track_caller]
    pub fn expect_status(&self, status: u16) {
        assert_eq!(self.0.status, status, "{}", self.0.text());
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0.body).unwrap()
    }

    pub fn text(&self) -> String {
        self.0.text()
    }
}

impl Edge {
    async fn start(sandbox: &Sandbox, number: usize, redis: SocketAddr) -> Self {
        let relay = Relay::to(redis).await;
        let program = NginxProgram::find().unwrap();
        let (addr, status) = (ports::free_loopback(), ports::free_loopback());
        let folder = format!("edge-{number}");
        let pid = "        location = /_worker { content_by_lua_block { ngx.print(ngx.worker.pid()) } }\n";
        let spec = Conf::ours(addr, status, &format!("redis://{}", relay.listen()))
            .server_lines(pid)
            .write(
                &folder,
                &program,
                WORKERS,
                &sandbox.dir().join(&folder),
                &sandbox.logs(),
            );
        let process = Process::spawn(&launcher(), spec).unwrap();
        Self {
            relay,
            name: addr.to_string().replace(':', "-"),
            addr,
            process,
        }
    }

    pub fn reload(&mut self) {
        self.process.signal(nix::sys::signal::Signal::SIGHUP);
    }

    pub fn pause(&mut self) {
        self.process.pause();
    }

    pub fn resume(&mut self) {
        self.process.resume();
    }

    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Lets it quit gracefully.
    pub async fn quit(&mut self) {
        self.process.signal(nix::sys::signal::Signal::SIGQUIT);
        self.process.exited().await;
    }
}

impl Fleet {
    pub async fn start() -> Self {
        let sandbox = Sandbox::new("pointsman-deploy-");
        let mut etcd = sandbox.etcd().unwrap();
        let mut redis = sandbox.redis("redis").unwrap();
        etcd.ready().await.unwrap();
        redis.ready().await.unwrap();
        let mut agent = sandbox
            .agent("agent-1", &etcd.url(), &redis.url(), &[])
            .unwrap();
        agent.ready().await.unwrap();
        let mut edges = Vec::new();
        for number in 1..=3 {
            edges.push(Edge::start(&sandbox, number, redis.listen()).await);
        }
        let fleet = Self {
            edges,
            agent,
            etcd,
            redis,
            sandbox,
        };
        fleet.all_live().await;
        for edge in &fleet.edges {
            Workers::connect(edge.addr, WORKERS).await;
        }
        fleet
    }

    pub fn addrs(&self) -> Vec<SocketAddr> {
        self.edges.iter().map(|edge| edge.addr).collect()
    }

    /// The admin API.
    pub fn api(&self) -> String {
        format!("http://{}", self.agent.admin())
    }

    pub async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let method: Method = method.parse().unwrap();
        let admin = self.agent.admin();
        let json = Some(body).filter(|body| !body.is_empty());
        let request = http::request(method, &admin.to_string(), path, json);
        Answer(http::send(admin, request.unwrap()).await.unwrap())
    }

    async fn states(&self) -> Vec<(String, String)> {
        let answer = self.call("GET", "/v1/edges", "").await;
        if answer.0.status != StatusCode::OK {
            return Vec::new();
        }
        let json = answer.json();
        let edges = json["edges"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        edges
            .map(|edge| (text(&edge["edge"]), text(&edge["state"])))
            .collect()
    }

    async fn until(&self, what: &str, is_right: impl Fn(&[(String, String)]) -> bool) {
        wait::until(what, PATIENCE, async || {
            let states = self.states().await;
            if is_right(&states) {
                Ok(())
            } else {
                Err(format!("{states:?}"))
            }
        })
        .await
        .unwrap();
    }

    pub async fn all_live(&self) {
        self.until("all edges are live", |states| {
            states.len() == 3 && states.iter().all(|(_, state)| state == "live")
        })
        .await;
    }

    pub async fn shows(&self, edge: &str, state: &str) {
        self.until(&format!("{edge} is {state}"), |states| {
            states
                .iter()
                .any(|(name, now)| name == edge && now == state)
        })
        .await;
    }

    pub async fn is_gone(&self, edge: &str) {
        self.until(&format!("{edge} is gone"), |states| {
            states.iter().all(|(name, _)| name != edge)
        })
        .await;
    }

    pub async fn stop(mut self) {
        let grace = Duration::from_secs(5);
        for edge in &mut self.edges {
            edge.process.stop(grace).await;
        }
        self.agent.process().stop(grace).await;
        self.redis.process().stop(grace).await;
        self.etcd.process().stop(grace).await;
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("the logs are kept in {}", self.sandbox.keep().display());
        eprintln!("--- agent:\n{}", self.agent.process().log_tail());
        for edge in &self.edges {
            let process = &edge.process;
            eprintln!("--- {}:\n{}", process.name(), process.log_tail());
        }
    }
}
