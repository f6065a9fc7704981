//! etcd, two Redis (three with Sentinel), agents and nginx, as real processes on
//! free ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pointsman_harness::etcd;
use pointsman_harness::registry::{Login, ROOT};
use pointsman_harness::relay::Relay;
use pointsman_harness::sandbox::Sandbox;
use pointsman_harness::services::{AgentProcess, NginxProcess, RedisProcess, Service};

use crate::cluster::Cluster;
use crate::sentinel::SentinelNodes;

const AGENTS: usize = 2;
pub const WORKERS: usize = 4;
/// Seconds.
const TOKEN_LIVES: u64 = 2;

/// Which Redis the edge reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum EdgeReads {
    Primary,
    Replica,
}

/// What a stack is made of.
#[derive(Clone, Copy)]
pub struct Shape {
    pub etcd_nodes: usize,
    pub edge_reads: EdgeReads,
    /// Whether Sentinel names the primary to the agents, and etcd wants a login.
    /// The edge reads a third Redis then, which is never promoted.
    pub with_guards: bool,
    /// How often agents compare etcd and Redis at rest, in seconds.
    pub reconcile: u64,
}

/// All of it.
pub struct ChaosStack {
    pub etcd: Cluster,
    pub agents: Vec<AgentProcess>,
    pub nginx: NginxProcess,
    redis: [RedisProcess; 2],
    /// Which of the two the agents write.
    primary: usize,
    edge_reads: EdgeReads,
    watched: Option<Watched>,
    /// What the agents reach Redis through, and the edge.
    pub to_agents: Relay,
    pub to_edge: Relay,
    /// What the agents reach each member of etcd through.
    pub to_etcd: Vec<Relay>,
    login: Option<Login>,
    sandbox: Sandbox,
}

/// What there is with Sentinel only.
struct Watched {
    sentinels: SentinelNodes,
    /// What the edge reads.
    replica: RedisProcess,
}

impl ChaosStack {
    /// Starts it, and waits until all answer.
    pub async fn start(shape: Shape) -> Result<Self> {
        let edge_reads = shape.edge_reads;
        let sandbox = Sandbox::new("pointsman-chaos-");
        let (dir, log_dir, launcher) = (sandbox.dir(), sandbox.logs(), &sandbox.launcher);

        let mut flags = Vec::new();
        if shape.with_guards {
            let secret = dir.join("secret");
            std::fs::write(&secret, "a secret of the tests")?;
            flags = tokens(&secret);
        }
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut cluster = Cluster::spawn(launcher, shape.etcd_nodes, &flags, dir, &log_dir)?;
        let spawn_redis = |number: usize| sandbox.redis(&format!("redis-{number}"));
        let mut redis = [spawn_redis(0)?, spawn_redis(1)?];
        for redis in &mut redis {
            redis.ready().await?;
            // A copy begins at once, and does not wait for other replicas.
            call(redis, &["CONFIG", "SET", "repl-diskless-sync-delay", "0"]).await?;
        }
        let mut watched = None;
        if shape.with_guards {
            let mut replica = spawn_redis(2)?;
            replica.ready().await?;
            let master = redis[0].listen();
            for one in [&redis[1], &replica] {
                replicate(one, master).await?;
            }
            call(&replica, &["CONFIG", "SET", "replica-priority", "0"]).await?;
            let mut sentinels = SentinelNodes::spawn(launcher, master, dir, &log_dir)?;
            sentinels.know(2, replica.listen()).await?;
            watched = Some(Watched { sentinels, replica });
        }
        cluster.ready().await?;
        let mut to_etcd = Vec::new();
        for member in cluster.clients() {
            to_etcd.push(Relay::to(member).await);
        }
        let etcd_urls = to_etcd.iter().map(etcd::through);
        let etcd_url = etcd_urls.collect::<Vec<_>>().join(",");
        let mut more_args = vec!["--reconcile".into(), format!("{}s", shape.reconcile).into()];
        let mut login = None;
        if shape.with_guards {
            let root = Login {
                user: ROOT.to_owned(),
                password: "right".to_owned(),
            };
            cluster.lock(&root).await?;
            more_args.extend(["--etcd-user".into(), root.user.clone().into()]);
            let file = dir.join("password");
            std::fs::write(&file, &root.password)?;
            more_args.extend(["--etcd-password-file".into(), file.into()]);
            login = Some(root);
        }
        let read = match (&watched, edge_reads) {
            (Some(watched), _) => &watched.replica,
            (None, EdgeReads::Primary) => &redis[0],
            (None, EdgeReads::Replica) => &redis[1],
        };
        let to_edge = Relay::to(read.listen()).await;
        let to_agents = Relay::to(redis[0].listen()).await;

        let redis_url = watched.as_ref().map_or_else(
            || redis_url_of(&to_agents),
            |watched| watched.sentinels.url(),
        );
        let mut agents = Vec::new();
        for number in 1..=AGENTS {
            let id = format!("agent-{number}");
            agents.push(sandbox.agent(&id, &etcd_url, &redis_url, &more_args)?);
        }
        let nginx = sandbox.nginx(&redis_url_of(&to_edge), WORKERS, "")?;
        let mut stack = Self {
            etcd: cluster,
            agents,
            nginx,
            redis,
            primary: 0,
            edge_reads,
            watched,
            to_agents,
            to_edge,
            to_etcd,
            login,
            sandbox,
        };
        if stack.watched.is_none() {
            stack.replicate().await?;
        }
        stack.ready().await?;
        Ok(stack)
    }

    /// Who logs in to etcd, if somebody must.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Waits until all answer.
    pub async fn ready(&mut self) -> Result<()> {
        self.etcd.ready().await?;
        for redis in &mut self.redis {
            redis.ready().await?;
        }
        for agent in &mut self.agents {
            agent.ready().await?;
        }
        self.nginx.ready().await?;
        Ok(())
    }

    /// The Redis that the agents write.
    pub fn primary(&mut self) -> &mut RedisProcess {
        &mut self.redis[self.primary]
    }

    /// Its URL.
    pub fn primary_url(&self) -> String {
        self.redis[self.primary].url()
    }

    /// A command to it.
    pub async fn call_primary(&self, command: &[&str]) -> Result<()> {
        call(&self.redis[self.primary], command).await
    }

    /// Changes a setting of it.
    pub async fn config(&self, name: &str, value: &str) -> Result<()> {
        self.call_primary(&["CONFIG", "SET", name, value]).await
    }

    /// Where the primary listens, and the other one.
    pub fn both(&self) -> (SocketAddr, SocketAddr) {
        let replica = &self.redis[1 - self.primary];
        (self.redis[self.primary].listen(), replica.listen())
    }

    /// A command to the other one.
    pub async fn call_replica(&self, command: &[&str]) -> Result<()> {
        call(&self.redis[1 - self.primary], command).await
    }

    /// Where the primary keeps a snapshot, and reads it when it starts.
    pub fn snapshot(&self) -> PathBuf {
        let folder = format!("redis-{}", self.primary);
        self.sandbox.dir().join(folder).join("dump.rdb")
    }

    /// Starts the primary, which must have been killed, on the snapshot that is
    /// there, if there is one.
    pub async fn restart_primary(&mut self) -> Result<()> {
        let redis = self.primary();
        redis.process().respawn().await?;
        redis.ready().await?;
        self.replicate().await
    }

    /// The replica takes over, and what was the primary starts empty, as its
    /// replica.
    pub async fn fail_over(&mut self) -> Result<()> {
        self.call_replica(&["REPLICAOF", "NO", "ONE"]).await?;
        self.primary().process().kill().await;
        forget(&self.snapshot())?;
        let left = self.primary;
        self.primary = 1 - left;
        let taken_over = self.redis[self.primary].listen();
        self.to_agents.point_to(taken_over);
        if self.edge_reads == EdgeReads::Primary {
            self.to_edge.point_to(taken_over);
        }
        let other = &mut self.redis[left];
        other.process().respawn().await?;
        other.ready().await?;
        if self.edge_reads == EdgeReads::Replica {
            self.to_edge.point_to(self.redis[left].listen());
        }
        self.replicate().await
    }

    async fn replicate(&self) -> Result<()> {
        let primary = self.redis[self.primary].listen();
        // A copy begins at once, and does not wait for other replicas.
        self.call_primary(&["CONFIG", "SET", "repl-diskless-sync-delay", "0"])
            .await?;
        replicate(&self.redis[1 - self.primary], primary).await
    }

    /// Waits until Sentinel has promoted the replica in place of the primary,
    /// which must have been killed, and starts that anew, empty.
    pub async fn promoted(&mut self) -> Result<()> {
        let watched = self.watched.as_mut().context("there is no Sentinel")?;
        let left = self.primary;
        let promoted = self.redis[1 - left].listen();
        watched.sentinels.name(promoted).await?;
        self.primary = 1 - left;
        let other = &mut self.redis[left];
        other.process().respawn().await?;
        other.ready().await?;
        Ok(())
    }

    /// Keeps the logs; answers where.
    pub fn keep_logs(&mut self) -> PathBuf {
        self.sandbox.keep()
    }
}

fn redis_url_of(relay: &Relay) -> String {
    format!("redis://{}", relay.listen())
}

/// Flags of an etcd whose tokens end, whatever is done with them.
fn tokens(secret: &Path) -> Vec<String> {
    let key = secret.display();
    vec![
        format!("--auth-token=jwt,sign-method=HS256,priv-key={key},ttl={TOKEN_LIVES}s"),
        "--bcrypt-cost=4".to_owned(),
    ]
}

async fn replicate(replica: &RedisProcess, primary: SocketAddr) -> Result<()> {
    let (host, port) = (primary.ip().to_string(), primary.port().to_string());
    call(replica, &["REPLICAOF", &host, &port]).await
}

/// Removes a file that may be there.
pub fn forget(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("failed to remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

async fn call(redis: &RedisProcess, command: &[&str]) -> Result<()> {
    let client = redis::Client::open(redis.url())?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let (name, arguments) = command.split_first().context("no command")?;
    let mut command = redis::cmd(name);
    command.arg(arguments);
    let _answer: redis::Value = command.query_async(&mut connection).await?;
    Ok(())
}
