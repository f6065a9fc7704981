//! etcd, Redis and an agent, on free ports.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::services::{AgentProcess, EtcdProcess, RedisProcess, Service};
use pointsman_harness::{http, wait};
use serde_json::Value;

use crate::context::Context;
use crate::cpu;

const GRACE: Duration = Duration::from_secs(8);

/// The three of them.
pub struct Stack {
    /// etcd.
    pub etcd: EtcdProcess,
    /// Redis.
    pub redis: RedisProcess,
    /// The agent.
    pub agent: AgentProcess,
}

impl Stack {
    /// Starts them off the core of what is measured, and waits until all answer.
    pub async fn start(ctx: &Context) -> Result<Self> {
        let sandbox = Sandbox::within(&ctx.folder("stack")?);
        let mut etcd = sandbox.etcd()?;
        let mut redis = sandbox.redis("redis")?;
        etcd.ready().await?;
        redis.ready().await?;
        let mut agent = sandbox.agent("agent", &etcd.url(), &redis.url(), &[])?;
        agent.ready().await?;
        let mut stack = Self { etcd, redis, agent };
        stack.pin_to(&ctx.cores.others)?;
        Ok(stack)
    }

    /// Puts all three on these cores.
    pub fn pin_to(&mut self, cores: &[usize]) -> Result<()> {
        for process in [
            self.etcd.process(),
            self.redis.process(),
            self.agent.process(),
        ] {
            cpu::pin(process.pid(), cores)?;
        }
        Ok(())
    }

    /// Waits until the agent has written this revision to Redis.
    pub async fn has_synced(&self, revision: i64, patience: Duration) -> Result<()> {
        let client = redis::Client::open(self.redis.url())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        wait::until("the agent has synced", patience, async || {
            let mut command = redis::cmd("HMGET");
            command.arg("pointsman:meta").arg("rev").arg("state");
            let (rev, state): (Option<i64>, Option<String>) = command
                .query_async(&mut connection)
                .await
                .map_err(|error| error.to_string())?;
            if rev >= Some(revision) && state.as_deref() == Some("ready") {
                Ok(())
            } else {
                Err(format!("{state:?} at {rev:?} of {revision}"))
            }
        })
        .await?;
        Ok(())
    }

    /// Waits until the agent lists so many edges, all of them live.
    pub async fn edges_live(&self, count: usize, patience: Duration) -> Result<()> {
        wait::until("all edges are live", patience, async || {
            let text = http::get(self.agent.admin(), "agent", "/v1/edges")
                .await
                .map_err(|error| error.to_string())?
                .text();
            let list: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let edges = list["edges"].as_array().ok_or(text.as_str())?;
            let (live, others): (Vec<_>, Vec<_>) =
                edges.iter().partition(|edge| edge["state"] == "live");
            if live.len() == count && others.is_empty() {
                return Ok(());
            }
            Err(format!("{} live, others: {:?}", live.len(), others.first()))
        })
        .await?;
        Ok(())
    }

    /// Stops all of them.
    pub async fn stop(mut self) {
        for process in [
            self.agent.process(),
            self.redis.process(),
            self.etcd.process(),
        ] {
            process.stop(GRACE).await;
        }
    }
}

/// Waits until the edge whose status page this is has applied a revision.
pub async fn has_applied(status: SocketAddr, revision: i64, patience: Duration) -> Result<()> {
    wait::until("the edge is up to date", patience, async || {
        let text = http::get(status, "localhost", "/pointsman/status")
            .await
            .map_err(|error| error.to_string())?
            .text();
        let facts: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        if facts["applied"].as_i64() >= Some(revision) && facts["feed"]["state"] == "live" {
            Ok(())
        } else {
            Err(text)
        }
    })
    .await
    .context("the table did not arrive at the edge")
}
