//! A temporary folder, and services in it on free ports.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman_dev::process::Launcher;
use pointsman_dev::services::{
    AgentConfig, AgentProcess, EtcdConfig, EtcdProcess, NginxConfig, NginxProcess, RedisConfig,
    RedisProcess, RegisterConfig, RegisterProcess,
};
use pointsman_dev::{DevError, ports};
use tempfile::TempDir;

use crate::workers::WORKER_LOCATION;
use crate::{launcher, pointsman_dev, source};

/// The folder. Services log into its `logs`. Dropped, it is gone, unless it was
/// told to keep its files.
pub struct Sandbox {
    /// Starts children.
    pub launcher: Launcher,
    dir: PathBuf,
    temporary: Option<TempDir>,
}

impl Sandbox {
    /// A new folder whose name begins so.
    pub fn new(prefix: &str) -> Self {
        let temporary = tempfile::Builder::new().prefix(prefix).tempdir().unwrap();
        let mut sandbox = Self::within(temporary.path());
        sandbox.temporary = Some(temporary);
        sandbox
    }

    /// A folder that somebody else removes.
    pub fn within(dir: &Path) -> Self {
        std::fs::create_dir_all(dir.join("logs")).unwrap();
        Self {
            launcher: launcher(),
            dir: dir.to_owned(),
            temporary: None,
        }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the logs are.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// Keeps all files, for whoever wants to see why it failed; answers where
    /// the logs are.
    pub fn keep(&mut self) -> PathBuf {
        if let Some(temporary) = &mut self.temporary {
            temporary.disable_cleanup(true);
        }
        self.logs()
    }

    /// Starts an etcd.
    pub fn etcd(&self) -> Result<EtcdProcess, DevError> {
        let config = EtcdConfig {
            client: ports::free_loopback(),
            peer: ports::free_loopback(),
            data_dir: self.dir.join("etcd"),
            log_dir: self.logs(),
        };
        EtcdProcess::spawn(&self.launcher, &config)
    }

    /// Starts a Redis in a folder of that name.
    pub fn redis(&self, folder: &str) -> Result<RedisProcess, DevError> {
        let config = RedisConfig {
            listen: ports::free_loopback(),
            data_dir: self.dir.join(folder),
            log_dir: self.logs(),
        };
        RedisProcess::spawn(&self.launcher, &config)
    }

    /// Starts an agent.
    pub fn agent(
        &self,
        id: &str,
        etcd_url: &str,
        redis_url: &str,
        more_args: &[OsString],
    ) -> Result<AgentProcess, DevError> {
        let config = AgentConfig {
            id: id.to_owned(),
            admin: ports::free_loopback(),
            etcd_url: etcd_url.to_owned(),
            redis_url: redis_url.to_owned(),
            more_args: more_args.to_vec(),
            log_dir: self.logs(),
        };
        AgentProcess::spawn(&self.launcher, &config)
    }

    /// Starts an edge, as `pointsman-dev` does, with more lines in the server
    /// that takes requests. Its workers tell their process ids.
    pub fn nginx(
        &self,
        redis_url: &str,
        workers: usize,
        lines: &str,
    ) -> Result<NginxProcess, DevError> {
        let config = NginxConfig {
            source: source(),
            edge: ports::free_loopback(),
            status: ports::free_loopback(),
            redis_url: redis_url.to_owned(),
            workers,
            server_lines: format!("{WORKER_LOCATION}{lines}"),
            dir: self.dir.join("nginx"),
            log_dir: self.logs(),
        };
        NginxProcess::spawn(&self.launcher, &config)
    }

    /// Starts a demo instance under `pointsman register`.
    pub fn register(
        &self,
        app: &str,
        id: &str,
        addr: SocketAddr,
        ttl: Duration,
        etcd_url: &str,
    ) -> Result<RegisterProcess, DevError> {
        let config = RegisterConfig {
            app: app.to_owned(),
            id: id.to_owned(),
            addr,
            ttl,
            pointsman_dev: pointsman_dev(),
            etcd_url: etcd_url.to_owned(),
            log_dir: self.logs(),
        };
        RegisterProcess::spawn(&self.launcher, &config)
    }
}
