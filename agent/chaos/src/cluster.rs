//! etcd, as one node or as three.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use etcd_client::Client;
use pointsman_harness::etcd::{EtcdNode, Membership, cluster_of};
use pointsman_harness::registry::{Login, ROOT};
use pointsman_harness::{Launcher, Process, ports};
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(2);

/// The nodes.
pub struct Cluster {
    nodes: Vec<EtcdNode>,
}

impl Cluster {
    /// Starts so many, with these flags; [`Cluster::ready`] waits until all
    /// answer.
    pub fn spawn(
        launcher: &Launcher,
        count: usize,
        flags: &[&str],
        dir: &Path,
        log_dir: &Path,
    ) -> Result<Self> {
        let peers: Vec<SocketAddr> = (0..count).map(|_| ports::free_loopback()).collect();
        let cluster = cluster_of(&peers);
        let spawn = |&peer: &SocketAddr| {
            let membership = Membership {
                scheme: "http",
                peer,
                cluster: &cluster,
                flags,
            };
            EtcdNode::spawn_in(launcher, &membership, dir, log_dir)
        };
        let nodes = peers.iter().map(spawn).collect::<Result<_, _>>()?;
        Ok(Self { nodes })
    }

    /// Their URLs, as many clients take them: with commas between.
    pub fn urls(&self) -> String {
        let urls = self.nodes.iter().map(EtcdNode::url);
        urls.collect::<Vec<_>>().join(",")
    }

    /// Waits until all answer.
    pub async fn ready(&mut self) -> Result<()> {
        for node in &mut self.nodes {
            node.ready().await?;
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

    /// Where clients reach each of them.
    pub fn clients(&self) -> impl Iterator<Item = SocketAddr> {
        self.nodes.iter().map(|node| node.client)
    }

    /// Removes all data of nodes that were killed.
    pub fn wipe(&self) -> Result<()> {
        for EtcdNode { data_dir, .. } in &self.nodes {
            std::fs::remove_dir_all(data_dir)
                .with_context(|| format!("failed to remove {}", data_dir.display()))?;
        }
        Ok(())
    }

    /// Saves a snapshot, of a single node; answers where.
    pub async fn save(&self) -> Result<PathBuf> {
        let node = &self.nodes[0];
        let snapshot = node.data_dir.with_extension("snapshot");
        let endpoints = format!("--endpoints={}", node.url());
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
        client.user_grant_role(&login.user, ROOT).await?;
        client.auth_enable().await?;
        Ok(())
    }

    /// The URL of one.
    pub fn url(&self, at: usize) -> String {
        self.nodes[at].url()
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
