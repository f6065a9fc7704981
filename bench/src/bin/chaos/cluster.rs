//! etcd, as one node or as three.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use pointsman_dev::process::{Launcher, Process, Spec};
use pointsman_dev::{http, ports};
use tokio::process::Command;
use tokio::time::timeout;

use crate::registry::{self, Login};

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(2);

/// The nodes.
pub struct Etcd {
    nodes: Vec<Node>,
}

struct Node {
    process: Process,
    client: SocketAddr,
    data_dir: PathBuf,
    /// What a restored snapshot must be told as well: names and peers.
    membership: [String; 3],
}

impl Etcd {
    /// Starts so many, with these flags; [`Etcd::ready`] waits until all answer.
    pub fn spawn(
        launcher: &Launcher,
        count: usize,
        more_flags: &[String],
        dir: &Path,
        log_dir: &Path,
    ) -> Result<Self> {
        let peers: Vec<String> = (0..count)
            .map(|_| format!("http://{}", ports::free_loopback()))
            .collect();
        let members: Vec<String> = peers
            .iter()
            .enumerate()
            .map(|(number, peer)| format!("etcd-{number}={peer}"))
            .collect();
        let mut nodes = Vec::new();
        for (number, peer) in peers.iter().enumerate() {
            let name = format!("etcd-{number}");
            let client = ports::free_loopback();
            let data_dir = dir.join(&name);
            let membership = [
                format!("--name={name}"),
                format!("--initial-cluster={}", members.join(",")),
                format!("--initial-advertise-peer-urls={peer}"),
            ];
            let own = [
                format!("--listen-peer-urls={peer}"),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--data-dir={}", data_dir.display()),
                "--logger=zap".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            let flags = membership.iter().chain(&own).chain(more_flags).cloned();
            let spec = Spec::new(&name, "etcd", flags, log_dir);
            nodes.push(Node {
                process: Process::spawn(launcher, spec)?,
                client,
                data_dir,
                membership,
            });
        }
        Ok(Self { nodes })
    }

    /// Their URLs, as many clients take them: with commas between.
    pub fn urls(&self) -> String {
        let urls = (0..self.nodes.len()).map(|at| self.url(at));
        urls.collect::<Vec<_>>().join(",")
    }

    /// Waits until all answer.
    pub async fn ready(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            let addr = node.client;
            let answers = node.process.answers(PATIENCE, async || {
                let answer = http::get(addr, &addr.to_string(), "/health").await;
                let answer = answer.map_err(|error| error.to_string())?;
                // It answers 503 while it has no leader.
                if answer.status.is_success() {
                    Ok(())
                } else {
                    Err(answer.text())
                }
            });
            answers.await?;
        }
        Ok(())
    }

    /// All processes.
    pub fn processes(&mut self) -> impl Iterator<Item = &mut Process> {
        self.nodes.iter_mut().map(|node| &mut node.process)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// The process of one.
    pub fn member(&mut self, at: usize) -> &mut Process {
        &mut self.nodes[at].process
    }

    /// Where clients reach one.
    pub fn client(&self, at: usize) -> SocketAddr {
        self.nodes[at].client
    }

    /// Removes all data of nodes that were killed.
    pub fn wipe(&self) -> Result<()> {
        for Node { data_dir, .. } in &self.nodes {
            std::fs::remove_dir_all(data_dir)
                .with_context(|| format!("failed to remove {}", data_dir.display()))?;
        }
        Ok(())
    }

    /// Saves a snapshot, of a single node; answers where.
    pub async fn save(&self) -> Result<PathBuf> {
        let node = &self.nodes[0];
        let snapshot = node.data_dir.with_extension("snapshot");
        let endpoints = format!("--endpoints={}", self.url(0));
        let args = [endpoints.into(), "save".into(), snapshot.clone().into()];
        etcdctl_snapshot(args).await?;
        Ok(snapshot)
    }

    /// Gives a single node, which was killed, the data of a snapshot.
    pub async fn restore(&self, snapshot: &Path) -> Result<()> {
        self.wipe()?;
        let node = &self.nodes[0];
        let mut data_dir = OsString::from("--data-dir=");
        data_dir.push(&node.data_dir);
        let what = [data_dir, "restore".into(), snapshot.into()];
        let membership = node.membership.iter().map(OsString::from);
        etcdctl_snapshot(what.into_iter().chain(membership)).await
    }

    /// Lets only the one login in from now on.
    pub async fn lock(&self, login: &Login) -> Result<()> {
        let mut client = Client::connect([self.url(0)], None).await?;
        client.user_add(&login.user, &login.password, None).await?;
        client.user_grant_role(&login.user, registry::ROOT).await?;
        client.auth_enable().await?;
        Ok(())
    }

    /// The URL of one.
    pub fn url(&self, at: usize) -> String {
        format!("http://{}", self.nodes[at].client)
    }

    /// Which one leads.
    pub async fn leader(&self) -> Result<usize> {
        let mut leading = None;
        for at in 0..self.nodes.len() {
            let mut client = Client::connect([self.url(at)], None).await?;
            let status = timeout(ANSWER, client.status()).await??;
            let itself = status.header().map(|header| header.member_id());
            if itself == Some(status.leader()) {
                leading = Some(at);
            }
        }
        leading.context("etcd has no leader")
    }
}

async fn etcdctl_snapshot(args: impl IntoIterator<Item = OsString>) -> Result<()> {
    let mut command = Command::new("etcdctl");
    command.arg("snapshot").args(args).kill_on_drop(true);
    let output = timeout(PATIENCE, command.env("ETCDCTL_API", "3").output()).await??;
    ensure!(
        output.status.success(),
        "etcdctl snapshot: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
