//! Sentinel, which promotes a replica when the master is gone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use pointsman::dev::ports;
use pointsman::dev::process::{Launcher, Process, Spec};

/// What the master is called.
const NAME: &str = "table";
const PATIENCE: Duration = Duration::from_secs(30);

/// One alone, which decides by itself.
pub struct Sentinel {
    process: Process,
    listen: SocketAddr,
}

impl Sentinel {
    /// Starts it; it keeps what it knows in this folder.
    pub fn spawn(
        launcher: &Launcher,
        master: SocketAddr,
        dir: &Path,
        log_dir: &Path,
    ) -> Result<Self> {
        let listen = ports::free_loopback();
        let file = dir.join("sentinel.conf");
        let lines = [
            format!("bind {}\nport {}\n", listen.ip(), listen.port()),
            format!("dir {}\n", dir.display()),
            format!(
                "sentinel monitor {NAME} {} {} 1\n",
                master.ip(),
                master.port()
            ),
            format!("sentinel down-after-milliseconds {NAME} 500\n"),
            format!("sentinel failover-timeout {NAME} 5000\n"),
        ];
        std::fs::write(&file, lines.concat())?;
        let args = [file.display().to_string(), "--sentinel".to_owned()];
        let spec = Spec::new("sentinel", "redis-server", args, log_dir);
        Ok(Self {
            process: Process::spawn(launcher, spec)?,
            listen,
        })
    }

    /// The URL by which agents find the master.
    pub fn url(&self) -> String {
        format!("redis+sentinel://{}/{NAME}", self.listen)
    }

    /// Waits until it knows these replicas, this one as never to be promoted.
    pub async fn knows(&mut self, replicas: usize, never: SocketAddr) -> Result<()> {
        let url = format!("redis://{}", self.listen);
        let never = never.port().to_string();
        let known = self.process.answers(PATIENCE, async || {
            let known = replicas_at(&url).await.map_err(|e| e.to_string())?;
            let up = known.iter().filter(|replica| {
                let says = |field: &str, value: &str| {
                    replica.get(field).is_some_and(|there| there == value)
                };
                let is_spared = says("slave-priority", "0");
                says("master-link-status", "ok") && is_spared == says("port", &never)
            });
            if up.count() == replicas {
                Ok(())
            } else {
                Err(format!("{known:?}"))
            }
        });
        Ok(known.await?)
    }

    /// Waits until it names this one as the master.
    pub async fn names(&mut self, master: SocketAddr) -> Result<()> {
        let url = format!("redis://{}", self.listen);
        let named = self.process.answers(PATIENCE, async || {
            let named = master_at(&url).await.map_err(|e| e.to_string())?;
            if named == master.to_string() {
                Ok(())
            } else {
                Err(named)
            }
        });
        Ok(named.await?)
    }
}

async fn replicas_at(url: &str) -> Result<Vec<HashMap<String, String>>> {
    let mut connection = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("REPLICAS").arg(NAME);
    Ok(command.query_async(&mut connection).await?)
}

async fn master_at(url: &str) -> Result<String> {
    let mut connection = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let mut command = redis::cmd("SENTINEL");
    command.arg("GET-MASTER-ADDR-BY-NAME").arg(NAME);
    let (host, port): (String, String) = command.query_async(&mut connection).await?;
    Ok(format!("{host}:{port}"))
}
