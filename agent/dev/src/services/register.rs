//! An app instance that registers itself: `pointsman register … -- app`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use super::Service;
use crate::error::DevError;
use crate::http;
use crate::process::{Launcher, Process, Spec};

const PATIENCE: Duration = Duration::from_secs(10);

/// How to start it.
#[derive(Clone, Debug)]
pub struct RegisterConfig {
    /// The app.
    pub app: String,
    /// The instance's id, and the name of its log.
    pub id: String,
    /// Where the instance listens.
    pub addr: SocketAddr,
    /// How long it stays registered when nobody renews it.
    pub ttl: Duration,
    /// `pointsman-dev`, which has the demo instance.
    pub pointsman_dev: PathBuf,
    /// The etcd to register in.
    pub etcd_url: String,
    /// Its log.
    pub log_dir: PathBuf,
}

/// A demo instance under `pointsman register`.
#[derive(Debug)]
pub struct RegisterProcess {
    process: Process,
    addr: SocketAddr,
}

impl RegisterProcess {
    /// Starts both; [`Service::ready`] waits until the instance answers.
    pub fn spawn(launcher: &Launcher, config: &RegisterConfig) -> Result<Self, DevError> {
        let addr = config.addr.to_string();
        let ttl = format!("{}s", config.ttl.as_secs());
        let mut spec = Spec::new(
            &config.id,
            launcher.pointsman(),
            [
                "register",
                "--app",
                &config.app,
                "--id",
                &config.id,
                "--addr",
                &addr,
                "--ttl",
                &ttl,
                "--etcd-endpoints",
                &config.etcd_url,
                "--",
            ],
            &config.log_dir,
        );
        spec.args.push(config.pointsman_dev.clone().into());
        let demo = ["demo-instance", "--name", &config.id, "--listen", &addr];
        spec.args.extend(demo.map(Into::into));
        let process = Process::spawn(launcher, spec)?;
        Ok(Self {
            process,
            addr: config.addr,
        })
    }

    /// Where the instance listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

#[async_trait(?Send)]
impl Service for RegisterProcess {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    fn is_essential(&self) -> bool {
        false
    }

    async fn ready(&mut self) -> Result<(), DevError> {
        let addr = self.addr;
        self.process
            .answers(PATIENCE, async || {
                http::get(addr, &addr.to_string(), "/")
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            })
            .await
    }
}
