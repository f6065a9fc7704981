//! The garbage collector of a worker, from inside.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use pointsman_dev::http::Connection;
use serde::{Deserialize, Serialize};

use crate::stats::Spread;

const STEPS: &str = include_str!("gc.lua");

/// A whole cycle, step by step. Times in microseconds of CPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cycle {
    /// Bytes of Lua's heap before.
    pub heap: f64,
    /// How many steps it took.
    pub steps: f64,
    /// The middle one.
    pub p50: f64,
    /// 99 % were not longer.
    pub p99: f64,
    /// The longest one.
    pub worst: f64,
    /// The longest one by the clock on the wall: other processes count.
    pub worst_wall: f64,
}

/// Several cycles of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cycles(pub Vec<Cycle>);

impl Cycles {
    /// A figure of all cycles.
    pub fn spread(&self, of: impl Fn(&Cycle) -> f64) -> Spread {
        let values: Vec<f64> = self.0.iter().map(of).collect();
        Spread::of(&values)
    }
}

/// What the status listener needs to be looked at.
pub fn location() -> String {
    format!(
        "        location = /_gc {{ content_by_lua_block {{\n{STEPS}\n}} }}\n        \
         location = /_heap {{ content_by_lua_block {{ ngx.say(collectgarbage(\"count\")) }} }}\n"
    )
}

/// Takes the collector through so many cycles.
pub async fn look(status: SocketAddr, cycles: usize) -> Result<Cycles> {
    let mut all = Vec::new();
    for _ in 0..cycles {
        let text = ask(status, "/_gc").await?;
        let cycle = serde_json::from_str(&text).with_context(|| text.clone())?;
        all.push(cycle);
    }
    Ok(Cycles(all))
}

/// Bytes of Lua's heap, garbage included.
pub async fn heap(status: SocketAddr) -> Result<f64> {
    let kib: f64 = ask(status, "/_heap").await?.trim().parse()?;
    Ok(kib * 1024.0)
}

async fn ask(status: SocketAddr, path: &str) -> Result<String> {
    let answer = Connection::open(status)
        .await?
        .get("localhost", path)
        .await?;
    anyhow::ensure!(answer.status.is_success(), "{path}: {}", answer.status);
    Ok(answer.text())
}
