//! A single Redis, with nothing on disk: agents fill it from etcd.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{MAKE_DEPS, Service, create_dir};
use crate::error::DevError;
use crate::process::{Launcher, Process, Spec};
use crate::programs;

const PATIENCE: Duration = Duration::from_secs(10);

/// How to start it.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Its working folder.
    pub data_dir: PathBuf,
    /// Its log.
    pub log_dir: PathBuf,
}

/// A running Redis.
#[derive(Debug)]
pub struct RedisProcess {
    process: Process,
    listen: SocketAddr,
}

impl RedisProcess {
    /// Starts it; [`Service::ready`] waits until it answers.
    pub fn spawn(launcher: &Launcher, config: &RedisConfig) -> Result<Self, DevError> {
        create_dir(&config.data_dir)?;
        let mut spec = Spec::new(
            "redis",
            programs::find("redis-server", MAKE_DEPS)?,
            [
                "--bind",
                &config.listen.ip().to_string(),
                "--port",
                &config.listen.port().to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
                "--maxmemory-policy",
                "noeviction",
            ],
            &config.log_dir,
        );
        spec.args.push("--dir".into());
        spec.args.push(config.data_dir.clone().into());
        Ok(Self {
            process: Process::spawn(launcher, spec)?,
            listen: config.listen,
        })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.listen)
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }
}

#[async_trait(?Send)]
impl Service for RedisProcess {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn ready(&mut self) -> Result<(), DevError> {
        let addr = self.listen;
        self.process
            .answers(PATIENCE, async || {
                ping(addr).await.map_err(|error| error.to_string())
            })
            .await
    }
}

async fn ping(addr: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(b"PING\r\n").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    if &answer == b"+PONG" {
        Ok(())
    } else {
        Err(std::io::Error::other(format!(
            "answered {}",
            String::from_utf8_lossy(&answer)
        )))
    }
}
