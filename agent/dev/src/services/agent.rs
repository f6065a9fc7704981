//! The agent itself: `pointsman serve`.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::Service;
use crate::error::DevError;
use crate::http;
use crate::process::{Launcher, Process, Spec};

const PATIENCE: Duration = Duration::from_secs(20);

/// How to start it.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Its id, and the name of its log.
    pub id: String,
    /// Where its admin API listens.
    pub admin: SocketAddr,
    /// The etcd that it follows.
    pub etcd_url: String,
    /// The Redis that it keeps.
    pub redis_url: String,
    /// Further arguments of `pointsman serve`.
    pub more_args: Vec<OsString>,
    /// Its log.
    pub log_dir: PathBuf,
}

/// A running agent.
#[derive(Debug)]
pub struct AgentProcess {
    process: Process,
    admin: SocketAddr,
}

impl AgentProcess {
    /// Starts it; [`Service::ready`] waits until it has synced.
    pub fn spawn(launcher: &Launcher, config: &AgentConfig) -> Result<Self, DevError> {
        let mut spec = Spec::new(
            &config.id,
            launcher.pointsman(),
            [
                "serve",
                "--id",
                &config.id,
                "--etcd-endpoints",
                &config.etcd_url,
                "--redis-url",
                &config.redis_url,
                "--admin-listen",
                &config.admin.to_string(),
            ],
            &config.log_dir,
        );
        spec.args.extend(config.more_args.iter().cloned());
        let process = Process::spawn(launcher, spec)?;
        Ok(Self {
            process,
            admin: config.admin,
        })
    }

    /// Where its admin API listens.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }
}

#[async_trait(?Send)]
impl Service for AgentProcess {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn ready(&mut self) -> Result<(), DevError> {
        let addr = self.admin;
        self.process
            .answers(PATIENCE, async || {
                let answer = http::get(addr, &addr.to_string(), "/readyz")
                    .await
                    .map_err(|error| error.to_string())?;
                if answer.status.is_success() {
                    Ok(())
                } else {
                    Err(answer.text())
                }
            })
            .await
    }
}
