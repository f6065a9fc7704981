//! etcd, as one node or as three.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use etcd_client::Client;
use pointsman::dev::process::{Launcher, Process, Spec};
use pointsman::dev::{http, ports};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const ANSWER: Duration = Duration::from_secs(2);

/// The nodes.
pub struct Etcd {
    nodes: Vec<Node>,
}

struct Node {
    process: Process,
    client: SocketAddr,
}

impl Etcd {
    /// Starts so many; [`Etcd::ready`] waits until all answer.
    pub fn spawn(launcher: &Launcher, count: usize, dir: &Path, log_dir: &Path) -> Result<Self> {
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
            let flags = [
                format!("--name={name}"),
                format!("--initial-cluster={}", members.join(",")),
                format!("--initial-advertise-peer-urls={peer}"),
                format!("--listen-peer-urls={peer}"),
                format!("--listen-client-urls=http://{client}"),
                format!("--advertise-client-urls=http://{client}"),
                format!("--data-dir={}", data_dir.display()),
                "--logger=zap".to_owned(),
                "--log-level=warn".to_owned(),
            ];
            let spec = Spec::new(&name, "etcd", flags, log_dir);
            nodes.push(Node {
                process: Process::spawn(launcher, spec)?,
                client,
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
        for Node { process, client } in &mut self.nodes {
            let addr = *client;
            let answers = process.answers(PATIENCE, async || {
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
