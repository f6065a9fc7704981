//! A Redis with whatever flags a test needs, and Sentinels.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use pointsman_dev::process::{Launcher, Process, Spec};
use pointsman_dev::{DevError, ports};
use pointsman_publish::sink::redis::RedisSink;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;

use crate::launcher;
use crate::records::REDIS_PREFIX;

const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis, or a Sentinel, in a temporary folder of its own.
pub struct RedisNode {
    /// Its process.
    pub process: Process,
    /// Where it listens.
    pub listen: SocketAddr,
    dir: TempDir,
}

/// How a Sentinel watches over a master.
pub struct WatchedMaster<'a> {
    /// What the master is called.
    pub name: &'a str,
    /// Where it is.
    pub master: SocketAddr,
    /// So many Sentinels must agree that it is gone.
    pub quorum: usize,
    /// It is taken for gone after so long.
    pub down_after: Duration,
    /// More lines of its configuration. The port `PORT` stands for its own.
    pub more: &'a [String],
}

impl RedisNode {
    /// A Redis that answers.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same, with more flags.
    pub async fn start_with(flags: &[&str]) -> Self {
        let mut redis = Self::spawn(flags);
        redis.answers().await;
        redis
    }

    /// Starts a Redis. The flag `PORT` stands for its port.
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
        let mut sentinel = Self::spawn_sentinel(master, &[]);
        sentinel.answers().await;
        sentinel
    }

    /// Starts one, with more lines in its configuration.
    pub fn spawn_sentinel(master: SocketAddr, more: &[String]) -> Self {
        let dir = TempDir::new().unwrap();
        let watch = WatchedMaster {
            name: "table",
            master,
            quorum: 1,
            down_after: Duration::from_millis(500),
            more,
        };
        let spawned = spawn_sentinel(&launcher(), "sentinel", &watch, dir.path(), dir.path());
        let (process, listen) = spawned.unwrap();
        Self {
            process,
            listen,
            dir,
        }
    }

    async fn answers(&mut self) {
        let client = redis::Client::open(self.url()).unwrap();
        let answers = self.process.answers(PATIENCE, async || {
            let connection = client.get_multiplexed_async_connection().await;
            let answer = match connection {
                Ok(mut connection) => {
                    let ping = redis::cmd("PING");
                    ping.query_async::<redis::Value>(&mut connection).await
                }
                Err(error) => Err(error),
            };
            match answer {
                // It wants a password: it is there.
                Err(error) if error.code() != Some("NOAUTH") => Err(error.to_string()),
                _ => Ok(()),
            }
        });
        answers.await.unwrap();
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.listen)
    }

    /// Its folder.
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

/// Starts a Sentinel that keeps what it knows in a folder of its name within
/// `dir`; answers where it listens, too.
pub fn spawn_sentinel(
    launcher: &Launcher,
    name: &str,
    watch: &WatchedMaster<'_>,
    dir: &Path,
    log_dir: &Path,
) -> Result<(Process, SocketAddr), DevError> {
    let listen = ports::free_loopback();
    let dir = dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    let file = dir.join("sentinel.conf");
    let WatchedMaster { name: of, .. } = watch;
    let (ip, port) = (watch.master.ip(), watch.master.port());
    let (quorum, after) = (watch.quorum, watch.down_after.as_millis());
    let port_of = listen.port().to_string();
    let plain = match watch.more.iter().any(|line| line.starts_with("tls-port")) {
        true => "0",
        false => &port_of,
    };
    let mut lines = vec![
        format!("bind {}\nport {plain}\n", listen.ip()),
        format!("dir {}\n", dir.display()),
        format!("sentinel monitor {of} {ip} {port} {quorum}\n"),
        format!("sentinel down-after-milliseconds {of} {after}\n"),
        format!("sentinel failover-timeout {of} 5000\n"),
    ];
    let more = watch.more.iter();
    lines.extend(more.map(|line| line.replace("PORT", &port_of) + "\n"));
    std::fs::write(&file, lines.concat()).unwrap();
    let args = [file.display().to_string(), "--sentinel".to_owned()];
    let spec = Spec::new(name, "redis-server", args, log_dir);
    Ok((Process::spawn(launcher, spec)?, listen))
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
