//! Members of etcd with whatever flags a test needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman_dev::process::{Launcher, Process, Spec};
use pointsman_dev::services::allow_loopback;
use pointsman_dev::{DevError, http, ports};
use pointsman_store::Store;
use pointsman_store::etcd::{EtcdOptions, EtcdStore};
use tempfile::TempDir;

use crate::launcher;
use crate::registry::PREFIX;
use crate::relay::Relay;

const PATIENCE: Duration = Duration::from_secs(60);

/// One member of an etcd cluster, or a whole etcd.
pub struct EtcdNode {
    /// Its process.
    pub process: Process,
    /// Where clients reach it.
    pub client: SocketAddr,
    /// Its data.
    pub data_dir: PathBuf,
    /// What a restored snapshot must be told as well: names and peers.
    pub membership: [String; 3],
    _dir: Option<TempDir>,
}

/// What a member is started with.
pub struct Membership<'a> {
    /// `http` or `https`; with the latter, the flags name the certificates.
    pub scheme: &'a str,
    /// Where other members reach it.
    pub peer: SocketAddr,
    /// All members, as etcd's flag has them; empty: it is alone.
    pub cluster: &'a str,
    /// More flags.
    pub flags: &'a [&'a str],
}

impl EtcdNode {
    /// A single etcd that answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let mut node = Self::spawn("http", ports::free_loopback(), "", flags);
        node.ready().await.unwrap();
        node
    }

    /// Three members of one cluster that have a leader.
    pub async fn cluster() -> [Self; 3] {
        let peers = [(); 3].map(|()| ports::free_loopback());
        let cluster = cluster_of(&peers);
        // An election takes about a second by default; a test need not wait.
        let quick = ["--heartbeat-interval=50", "--election-timeout=500"];
        let mut members = peers.map(|peer| Self::spawn("http", peer, &cluster, &quick));
        for member in &mut members {
            member.ready().await.unwrap();
        }
        members
    }

    /// Starts a member in a temporary folder of its own. Nothing is synced to
    /// disk.
    pub fn spawn(scheme: &str, peer: SocketAddr, cluster: &str, flags: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let flags = [flags, &["--unsafe-no-fsync"]].concat();
        let membership = Membership {
            scheme,
            peer,
            cluster,
            flags: &flags,
        };
        let node = Self::spawn_in(&launcher(), &membership, dir.path(), dir.path());
        Self {
            _dir: Some(dir),
            ..node.unwrap()
        }
    }

    /// Starts a member whose data and log go into these folders.
    pub fn spawn_in(
        launcher: &Launcher,
        at: &Membership<'_>,
        dir: &Path,
        log_dir: &Path,
    ) -> Result<Self, DevError> {
        let (scheme, peer) = (at.scheme, at.peer);
        let client = ports::free_loopback();
        let name = name_of(peer);
        let data_dir = dir.join(&name);
        let alone = cluster_of(&[peer]);
        let cluster = if at.cluster.is_empty() {
            &alone
        } else {
            at.cluster
        };
        let membership = [
            format!("--name={name}"),
            format!("--initial-cluster={cluster}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
        ];
        let own = [
            format!("--data-dir={}", data_dir.display()),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--listen-client-urls={scheme}://{client}"),
            format!("--advertise-client-urls={scheme}://{client}"),
            "--logger=zap".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        let flags = at.flags.iter().map(|&flag| flag.to_owned());
        let args = membership.iter().chain(&own).cloned().chain(flags);
        let spec = Spec::new(&name, "etcd", args, log_dir);
        Ok(Self {
            process: Process::spawn(launcher, spec)?,
            client,
            data_dir,
            membership,
            _dir: None,
        })
    }

    /// Waits until it has a leader; from then on instances may be on loopback,
    /// unless it asks for a login.
    pub async fn ready(&mut self) -> Result<(), DevError> {
        let addr = self.client;
        let answers = self.process.answers(PATIENCE, async || {
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
        match allow_loopback(&self.url()).await {
            Ok(()) | Err(DevError::Settings(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// The same through a store, where it takes TLS or a login.
    pub async fn ready_through(&mut self, store: &EtcdStore) {
        let answers = self.process.answers(PATIENCE, async || {
            let answer = store.get("epoch").await;
            answer.map(drop).map_err(|error| format!("{error:?}"))
        });
        answers.await.unwrap();
    }

    /// Its URL, without TLS.
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }
}

fn name_of(peer: SocketAddr) -> String {
    format!("etcd-{}", peer.port())
}

/// These members as etcd's flag has them.
pub fn cluster_of(peers: &[SocketAddr]) -> String {
    let members = peers
        .iter()
        .map(|&peer| format!("{}=http://{peer}", name_of(peer)));
    members.collect::<Vec<_>>().join(",")
}

/// The store as an agent has it, without login or TLS.
pub fn store(urls: &[String]) -> EtcdStore {
    EtcdStore::new(options(urls))
}

/// What makes it, to be changed.
pub fn options(urls: &[String]) -> EtcdOptions {
    EtcdOptions {
        endpoints: urls.to_vec(),
        user: None,
        tls: None,
        prefix: PREFIX.to_owned(),
    }
}

/// The URL of an etcd behind a relay.
pub fn through(relay: &Relay) -> String {
    format!("http://{}", relay.listen())
}
