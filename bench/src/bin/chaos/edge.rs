//! Whether each nginx worker answers as etcd has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use pointsman_dev::http::Connection;
use pointsman_dev::wait;

use crate::instances::SERVED_BY;
use crate::registry::{Registered, Registry};
use crate::stack::WORKERS;

/// Which worker takes a connection is up to the kernel.
const TRIES: usize = 5_000;
/// Requests for each instance: so many show one that should not be there, and
/// so many at most are needed to see all that should.
const LEAST: usize = 2;
const MOST: usize = 12;
/// A host that is bound to nothing.
const UNBOUND: &str = "nobody.example";

/// A connection to each worker, kept as long as it lasts.
pub struct Edge {
    addr: SocketAddr,
    workers: BTreeMap<String, Connection>,
}

impl Edge {
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            workers: BTreeMap::new(),
        }
    }

    /// Waits until each worker leads each host to exactly the instances that
    /// etcd has for its app; answers when the look began that found it so.
    pub async fn right(
        &mut self,
        registry: &Registry,
        hosts: &BTreeMap<String, String>,
        limit: Duration,
    ) -> Result<Instant, wait::TimedOut> {
        wait::until("each worker answers as etcd has it", limit, async || {
            let begin = Instant::now();
            let registered = registry.registered().await.map_err(|e| e.to_string())?;
            let looked = self.look(&registered, hosts).await;
            if looked.is_err() {
                // It may have been the connection.
                self.workers.retain(|_, connection| !connection.is_closed());
            }
            looked.map(|()| begin)
        })
        .await
    }

    async fn look(
        &mut self,
        registered: &Registered,
        hosts: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        self.connect().await?;
        for (pid, connection) in &mut self.workers {
            for (host, app) in hosts {
                let expected = registered.get(app).cloned().unwrap_or_default();
                let seen = ask(connection, host, expected.len())
                    .await
                    .map_err(|error| format!("worker {pid}, {host}: {error}"))?;
                if seen != expected {
                    return Err(format!(
                        "worker {pid}, {host}: {seen:?}, should be {expected:?}"
                    ));
                }
            }
            let answer = connection.get(UNBOUND, "/").await;
            let status = answer.map_err(|error| error.to_string())?.status;
            if status.as_u16() != 404 {
                return Err(format!("worker {pid}, {UNBOUND}: {status}"));
            }
        }
        Ok(())
    }

    /// Connects to each worker that there is no connection to. All are held
    /// open meanwhile: a busy worker leaves the next one to another.
    async fn connect(&mut self) -> Result<(), String> {
        self.workers.retain(|_, connection| !connection.is_closed());
        let mut others = Vec::new();
        for _ in 0..TRIES {
            if self.workers.len() == WORKERS {
                return Ok(());
            }
            let opened = Connection::open(self.addr).await;
            let mut connection = opened.map_err(|error| error.to_string())?;
            let answer = connection.get("worker", "/_worker").await;
            let pid = answer.map_err(|error| error.to_string())?.text();
            if let Some(other) = self.workers.insert(pid, connection) {
                others.push(other);
                others.truncate(500);
            }
        }
        Err(format!(
            "only {} workers took a connection",
            self.workers.len()
        ))
    }
}

/// The instances that answer for a host, over as many requests as it takes.
async fn ask(
    connection: &mut Connection,
    host: &str,
    wanted: usize,
) -> Result<BTreeSet<String>, String> {
    let mut seen = BTreeSet::new();
    for turn in 0..wanted * MOST {
        if turn >= wanted * LEAST && seen.len() >= wanted {
            break;
        }
        let answer = connection.get(host, "/").await;
        let answer = answer.map_err(|error| error.to_string())?;
        let Some(id) = answer.header(SERVED_BY) else {
            let reason = answer.header("x-pointsman-error").unwrap_or_default();
            return Err(format!("{} {reason}", answer.status));
        };
        seen.insert(id.to_owned());
    }
    Ok(seen)
}
