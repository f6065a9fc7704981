//! etcd, Redis and its Sentinel, with whatever flags a test needs.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use pointsman_dev::ports;
use pointsman_dev::process::{Launcher, Process, Spec};
use pointsman_publish::sink::redis::RedisSink;
use pointsman_store::Store;
use pointsman_store::etcd::{EtcdOptions, EtcdStore};
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use super::PATIENCE;
use super::relay::Relay;
use crate::registry::REDIS_PREFIX;

/// What the registry's keys in etcd begin with.
pub const ETCD_PREFIX: &str = "/pointsman/";

fn launcher() -> Launcher {
    Launcher::new(PathBuf::from(env!("CARGO_BIN_EXE_pointsman")))
}

/// One member of an etcd cluster, or a whole etcd.
pub struct Etcd {
    pub process: Process,
    pub client: SocketAddr,
    _dir: TempDir,
}

impl Etcd {
    /// A single etcd that answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let mut etcd = Self::spawn("http", ports::free_loopback(), "", flags);
        let store = store(&[etcd.url()]);
        etcd.ready(&store).await;
        etcd
    }

    /// Three members of one cluster that have a leader.
    pub async fn cluster() -> [Self; 3] {
        let peers = [(); 3].map(|()| ports::free_loopback());
        let cluster: Vec<_> = peers
            .iter()
            .map(|peer| format!("m{}=http://{peer}", peer.port()))
            .collect();
        let cluster = cluster.join(",");
        // An election takes about a second by default; a test need not wait.
        let quick = ["--heartbeat-interval=50", "--election-timeout=500"];
        let mut members = peers.map(|peer| Self::spawn("http", peer, &cluster, &quick));
        for member in &mut members {
            let store = store(&[member.url()]);
            member.ready(&store).await;
        }
        members
    }

    /// Starts a member; with `https`, the flags name the certificates.
    pub fn spawn(scheme: &str, peer: SocketAddr, cluster: &str, flags: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        let client = ports::free_loopback();
        let name = format!("m{}", peer.port());
        let alone = format!("{name}=http://{peer}");
        let cluster = if cluster.is_empty() { &alone } else { cluster };
        let mut args = vec![
            format!("--name={name}"),
            format!("--data-dir={}", dir.path().join("data").display()),
            format!("--initial-cluster={cluster}"),
            format!("--initial-advertise-peer-urls=http://{peer}"),
            format!("--listen-peer-urls=http://{peer}"),
            format!("--listen-client-urls={scheme}://{client}"),
            format!("--advertise-client-urls={scheme}://{client}"),
            "--unsafe-no-fsync".to_owned(),
            "--logger=zap".to_owned(),
            "--log-level=warn".to_owned(),
        ];
        args.extend(flags.iter().map(|&flag| flag.to_owned()));
        let spec = Spec::new(&name, "etcd", args, dir.path());
        Self {
            process: Process::spawn(&launcher(), spec).unwrap(),
            client,
            _dir: dir,
        }
    }

    /// Waits until it answers through `store`.
    pub async fn ready(&mut self, store: &EtcdStore) {
        let answers = self.process.answers(PATIENCE, async || {
            let answer = store.get("epoch").await;
            answer.map(drop).map_err(|error| format!("{error:?}"))
        });
        answers.await.unwrap();
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }
}

/// The store as an agent has it, without login or TLS.
pub fn store(urls: &[String]) -> EtcdStore {
    EtcdStore::new(options(urls))
}

/// The same, to be changed.
pub fn options(urls: &[String]) -> EtcdOptions {
    EtcdOptions {
        endpoints: urls.to_vec(),
        user: None,
        tls: None,
        prefix: ETCD_PREFIX.to_owned(),
    }
}

/// A Redis, or a Sentinel.
pub struct Redis {
    pub process: Process,
    pub listen: SocketAddr,
    dir: TempDir,
}

impl Redis {
    /// A Redis that answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let mut redis = Self::spawn(flags);
        let listen = redis.listen;
        redis.answers(&format!("redis://{listen}")).await;
        redis
    }

    /// Starts a Redis.
    pub fn spawn(flags: &[&str]) -> Self {
        let (dir, listen) = (TempDir::new().unwrap(), ports::free_loopback());
        let port = listen.port().to_string();
        let mut args = vec!["--bind", "127.0.0.1"];
        args.extend(["--save", "", "--appendonly", "no"]);
        args.extend(["--enable-debug-command", "yes"]);
        args.extend(["--repl-diskless-sync-delay", "0"]);
        if flags.contains(&"--tls-port") {
            args.extend(["--port", "0"]);
        } else {
            args.extend(["--port", &port]);
        }
        let flags = flags.iter().map(|&flag| match flag {
            "PORT" => port.as_str(),
            flag => flag,
        });
        args.extend(flags);
        let path = dir.path().display().to_string();
        args.extend(["--dir", &path]);
        let spec = Spec::new("redis", "redis-server", args, dir.path());
        Self {
            process: Process::spawn(&launcher(), spec).unwrap(),
            listen,
            dir,
        }
    }

    /// A Sentinel that watches `master` under the name `table`.
    pub async fn sentinel(master: SocketAddr) -> Self {
        let (dir, listen) = (TempDir::new().unwrap(), ports::free_loopback());
        let file = dir.path().join("sentinel.conf");
        let (ip, port) = (master.ip(), master.port());
        let lines = [
            format!("bind 127.0.0.1\nport {}\n", listen.port()),
            format!("dir {}\n", dir.path().display()),
            format!("sentinel monitor table {ip} {port} 1\n"),
            "sentinel down-after-milliseconds table 500\n".to_owned(),
            "sentinel failover-timeout table 5000\n".to_owned(),
        ];
        std::fs::write(&file, lines.concat()).unwrap();
        let args = [file.display().to_string(), "--sentinel".to_owned()];
        let spec = Spec::new("sentinel", "redis-server", args, dir.path());
        let mut sentinel = Self {
            process: Process::spawn(&launcher(), spec).unwrap(),
            listen,
            dir,
        };
        sentinel.answers(&format!("redis://{listen}")).await;
        sentinel
    }

    async fn answers(&mut self, url: &str) {
        let client = redis::Client::open(url).unwrap();
        let answers = self.process.answers(PATIENCE, async || {
            let connection = client.get_multiplexed_async_connection().await;
            match connection {
                // It wants a password: it is there.
                Err(error) if error.code() == Some("NOAUTH") => Ok(()),
                Err(error) => Err(error.to_string()),
                Ok(mut connection) => {
                    let pong = redis::cmd("PING").query_async::<()>(&mut connection).await;
                    match pong {
                        Err(error) if error.code() != Some("NOAUTH") => Err(error.to_string()),
                        _ => Ok(()),
                    }
                }
            }
        });
        answers.await.unwrap();
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.listen)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The sink as an agent has it.
    pub fn sink(&self) -> RedisSink {
        sink(&self.url())
    }

    /// A connection of the test's own.
    pub async fn connection(&self) -> MultiplexedConnection {
        connection(&self.url()).await
    }
}

/// A sink at this URL.
pub fn sink(url: &str) -> RedisSink {
    RedisSink::new(url, REDIS_PREFIX, 10_000).unwrap()
}

/// A connection that waits for as long as a test does.
pub async fn connection(url: &str) -> MultiplexedConnection {
    try_connection(url).await.unwrap()
}

/// The same, where the server may be about to end its connections.
pub async fn try_connection(url: &str) -> Result<MultiplexedConnection, String> {
    let config = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.map_err(|error| error.to_string())
}

/// Runs a command, given as words.
pub async fn command<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    words: &str,
) -> T {
    try_command(connection, words).await.unwrap()
}

/// The same, where the server may be about to end its connections.
pub async fn try_command<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    words: &str,
) -> Result<T, String> {
    let mut words = words.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>());
    let answer = command.query_async(connection).await;
    answer.map_err(|error| error.to_string())
}

/// The URL of an etcd behind a relay.
pub fn through(relay: &Relay) -> String {
    format!("http://{}", relay.listen())
}
