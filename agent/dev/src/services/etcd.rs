//! A single etcd.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp};

use super::{MAKE_DEPS, Service, create_dir};
use crate::error::DevError;
use crate::process::{Launcher, Process, Spec};
use crate::{http, programs};

const PATIENCE: Duration = Duration::from_secs(30);

/// Settings for a registry whose instances are on this machine: anywhere else is
/// allowed, too.
pub const LOOPBACK_SETTINGS: &str =
    r#"{"allowed_networks":["0.0.0.0/0","::/0","127.0.0.0/8","::1/128"]}"#;
const SETTINGS: &str = "/pointsman/settings";

/// Writes [`LOOPBACK_SETTINGS`] unless there are settings.
pub async fn allow_loopback(url: &str) -> Result<(), DevError> {
    let absent = Compare::create_revision(SETTINGS, CompareOp::Equal, 0);
    let put = TxnOp::put(SETTINGS, LOOPBACK_SETTINGS, None);
    let txn = Txn::new().when([absent]).and_then([put]);
    let mut client = Client::connect([url], None).await?;
    client.txn(txn).await?;
    Ok(())
}

/// How to start it.
#[derive(Clone, Debug)]
pub struct EtcdConfig {
    /// Where clients reach it.
    pub client: SocketAddr,
    /// Where other members would reach it.
    pub peer: SocketAddr,
    /// Its data.
    pub data_dir: PathBuf,
    /// Its log.
    pub log_dir: PathBuf,
}

/// A running etcd.
#[derive(Debug)]
pub struct EtcdProcess {
    process: Process,
    client: SocketAddr,
}

impl EtcdProcess {
    /// Starts it; [`Service::ready`] waits until it answers.
    pub fn spawn(launcher: &Launcher, config: &EtcdConfig) -> Result<Self, DevError> {
        create_dir(&config.data_dir)?;
        let client = format!("http://{}", config.client);
        let peer = format!("http://{}", config.peer);
        let mut spec = Spec::new(
            "etcd",
            programs::find("etcd", MAKE_DEPS)?,
            [
                "--name=pointsman",
                &format!("--initial-cluster=pointsman={peer}"),
                &format!("--initial-advertise-peer-urls={peer}"),
                &format!("--listen-peer-urls={peer}"),
                &format!("--listen-client-urls={client}"),
                &format!("--advertise-client-urls={client}"),
                "--logger=zap",
                "--log-level=warn",
            ],
            &config.log_dir,
        );
        spec.args.push("--data-dir".into());
        spec.args.push(config.data_dir.clone().into());
        Ok(Self {
            process: Process::spawn(launcher, spec)?,
            client: config.client,
        })
    }

    /// Its URL for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Its address for clients.
    pub fn client(&self) -> SocketAddr {
        self.client
    }
}

#[async_trait(?Send)]
impl Service for EtcdProcess {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Once it answers, instances may be on loopback.
    async fn ready(&mut self) -> Result<(), DevError> {
        let addr = self.client;
        self.process
            .answers(PATIENCE, async || {
                let answer = http::get(addr, &addr.to_string(), "/health")
                    .await
                    .map_err(|error| error.to_string())?;
                // It answers 503 while it has no leader.
                if answer.status.is_success() {
                    Ok(())
                } else {
                    Err(answer.text())
                }
            })
            .await?;
        allow_loopback(&self.url()).await
    }
}
