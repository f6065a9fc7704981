//! Three Sentinels, two of which must agree to promote a replica when the master
//! is gone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pointsman_harness::redis_node::{WatchedMaster, spawn_sentinel};
use pointsman_harness::{Launcher, Process};

/// What the master is called.
const NAME: &str = "table";
const PATIENCE: Duration = Duration::from_secs(30);
const COUNT: usize = 3;
const QUORUM: usize = 2;

/// All of them.
pub struct SentinelNodes {
    all: Vec<Sentinel>,
}

struct Sentinel {
    process: Process,
    listen: SocketAddr,
}

impl SentinelNodes {
    /// Starts them; they keep what they know in this folder.
    pub fn spawn(
        launcher: &Launcher,
        master: SocketAddr,
        dir: &Path,
        log_dir: &Path,
    ) -> Result<Self> {
        let all = (0..COUNT)
            .map(|number| Sentinel::spawn(launcher, number, master, dir, log_dir))
            .collect::<Result<_>>()?;
        Ok(Self { all })
    }

    /// The URL by which agents find the master.
    pub fn url(&self) -> String {
        let addrs = self.all.iter().map(|one| one.listen.to_string());
        let addrs: Vec<String> = addrs.collect();
        format!("redis+sentinel://{}/{NAME}", addrs.join(","))
    }

    /// Waits until each knows the others and these replicas, this one as never
    /// to be promoted.
    pub async fn know(&mut self, replicas: usize, never: SocketAddr) -> Result<()> {
        for one in &mut self.all {
            one.knows(replicas, never).await?;
        }
        Ok(())
    }

    /// Waits until each names this one as the master.
    pub async fn name(&mut self, master: SocketAddr) -> Result<()> {
        for one in &mut self.all {
            one.names(master).await?;
        }
        Ok(())
    }
}

impl Sentinel {
    fn spawn(
        launcher: &Launcher,
        number: usize,
        master: SocketAddr,
        dir: &Path,
        log_dir: &Path,
    ) -> Result<Self> {
        let watch = WatchedMaster {
            name: NAME,
            master,
            quorum: QUORUM,
            down_after: Duration::from_secs(1),
            more: &[],
        };
        let name = format!("sentinel-{number}");
        let (process, listen) = spawn_sentinel(launcher, &name, &watch, dir, log_dir)?;
        Ok(Self { process, listen })
    }

    async fn knows(&mut self, replicas: usize, never: SocketAddr) -> Result<()> {
        let url = format!("redis://{}", self.listen);
        let never = never.port().to_string();
        let known = self.process.answers(PATIENCE, async || {
            let others: Vec<HashMap<String, String>> =
                ask(&url, "SENTINELS").await.map_err(|e| e.to_string())?;
            let known: Vec<HashMap<String, String>> =
                ask(&url, "REPLICAS").await.map_err(|e| e.to_string())?;
            let up = known.iter().filter(|replica| {
                let says = |field: &str, value: &str| {
                    replica.get(field).is_some_and(|there| there == value)
                };
                let is_spared = says("slave-priority", "0");
                says("master-link-status", "ok") && is_spared == says("port", &never)
            });
            if up.count() == replicas && others.len() == COUNT - 1 {
                Ok(())
            } else {
                Err(format!("{known:?}, {} others", others.len()))
            }
        });
        Ok(known.await?)
    }

    async fn names(&mut self, master: SocketAddr) -> Result<()> {
        let url = format!("redis://{}", self.listen);
        let named = self.process.answers(PATIENCE, async || {
            let named = ask(&url, "GET-MASTER-ADDR-BY-NAME").await;
            let (host, port): (String, String) = named.map_err(|e| e.to_string())?;
            let named = format!("{host}:{port}");
            if named == master.to_string() {
                Ok(())
            } else {
                Err(named)
            }
        });
        Ok(named.await?)
    }
}

async fn ask<T: redis::FromRedisValue>(url: &str, what: &str) -> Result<T> {
    let mut connection = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg(what).arg(NAME);
    Ok(command.query_async(&mut connection).await?)
}
