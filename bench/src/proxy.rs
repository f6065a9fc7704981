//! A proxy, or any other server, that is measured: a process with a core.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use pointsman_dev::http;
use pointsman_dev::process::{Process, Spec};

use crate::context::Context;
use crate::cpu;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub struct Proxy {
    /// Where it takes requests.
    pub addr: SocketAddr,
    process: Process,
    pids: Vec<i32>,
}

impl Proxy {
    /// Starts it, waits until it answers a request for `host` with 200, and puts
    /// it on these cores.
    pub async fn start(
        ctx: &Context,
        spec: Spec,
        addr: SocketAddr,
        host: &str,
        cores: &[usize],
    ) -> Result<Self> {
        let mut process = Process::spawn(&ctx.launcher, spec)?;
        process
            .answers(PATIENCE, async || {
                let answer = http::get(addr, host, "/")
                    .await
                    .map_err(|error| error.to_string())?;
                if answer.status.as_u16() == 200 {
                    Ok(())
                } else {
                    Err(answer.status.to_string())
                }
            })
            .await?;
        cpu::pin(process.pid(), cores)?;
        let pids = cpu::tree(process.pid())?;
        Ok(Self {
            addr,
            process,
            pids,
        })
    }

    /// CPU time that it has spent, with its workers.
    pub fn spent(&self) -> Result<Duration> {
        cpu::spent(&self.pids)
    }

    /// Its processes, the first one first.
    pub fn pids(&self) -> &[i32] {
        &self.pids
    }

    /// Asks it to end, and waits.
    pub async fn stop(mut self) {
        self.process.stop(Duration::from_secs(5)).await;
    }
}
