//! Whether each nginx worker answers as etcd has it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pointsman_harness::http::Connection;
use pointsman_harness::upstreams::SERVED_BY;
use pointsman_harness::wait;
use pointsman_harness::workers::Workers;

use crate::registry::{FactRegistry, Registered};
use crate::stack::WORKERS;

/// Requests for each instance: so many show one that should not be there, and
/// so many at most are needed to see all that should.
const LEAST: usize = 2;
const MOST: usize = 12;
/// A host that is bound to nothing.
const UNBOUND: &str = "nobody.example";

/// A connection to each worker, kept as long as it lasts.
pub struct Edge {
    workers: Workers,
}

impl Edge {
    pub fn new(addr: SocketAddr) -> Self {
        Self {
            workers: Workers::of(addr, WORKERS),
        }
    }

    /// Waits until each worker leads each host to exactly the instances that
    /// etcd has for its app; answers when the look began that found it so.
    pub async fn right(
        &mut self,
        registry: &FactRegistry,
        hosts: &BTreeMap<String, String>,
        limit: Duration,
    ) -> Result<Instant, wait::TimedOut> {
        wait::until("each worker answers as etcd has it", limit, async || {
            let begin = Instant::now();
            let registered = registry.registered().await;
            self.look(&registered, hosts).await.map(|()| begin)
        })
        .await
    }

    async fn look(
        &mut self,
        registered: &Registered,
        hosts: &BTreeMap<String, String>,
    ) -> Result<(), String> {
        self.workers.reconnect().await?;
        for (pid, connection) in self.workers.each() {
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
