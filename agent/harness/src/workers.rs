//! One kept connection to each worker of an nginx.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use pointsman_dev::http::{Connection, HttpAnswer};
use pointsman_dev::wait;

/// A location for requests that say which worker took them.
pub const WORKER_LOCATION: &str = "        location = /_worker { return 200 $pid; }\n";
/// Its path.
pub(crate) const WORKER_PATH: &str = "/_worker";

/// Which of the workers takes a connection is up to the kernel; so many tries
/// see all of them.
const TRIES: usize = 5_000;
/// So many connections at most are held open meanwhile.
const HELD: usize = 500;
const PATIENCE: Duration = Duration::from_secs(20);

/// Connections by the workers' process ids.
pub struct Workers {
    edge: SocketAddr,
    count: usize,
    by_pid: BTreeMap<String, Connection>,
}

impl Workers {
    /// Of an nginx with so many workers; nothing is connected yet.
    pub fn of(edge: SocketAddr, count: usize) -> Self {
        Self {
            edge,
            count,
            by_pid: BTreeMap::new(),
        }
    }

    /// The same, with a connection to each of them.
    pub async fn connect(edge: SocketAddr, count: usize) -> Self {
        let mut workers = Self::of(edge, count);
        let connected = wait::until("each worker takes a connection", PATIENCE, async || {
            workers.reconnect().await
        });
        connected.await.unwrap();
        workers
    }

    /// Connects to each worker that there is no open connection to.
    pub async fn reconnect(&mut self) -> Result<(), String> {
        self.by_pid.retain(|_, connection| !connection.is_closed());
        let edge = self.edge;
        one_to_each(&mut self.by_pid, self.count, async || {
            let opened = Connection::open(edge).await;
            let mut connection = opened.map_err(|error| error.to_string())?;
            let answer = connection.get("worker", WORKER_PATH).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status.is_success() {
                Ok((answer.text(), connection))
            } else {
                Err(format!("{WORKER_PATH}: {}", answer.status))
            }
        })
        .await
    }

    /// The same request on each worker.
    pub async fn get_all(&mut self, host: &str, path: &str) -> Result<Vec<HttpAnswer>, String> {
        let mut answers = Vec::new();
        for (pid, connection) in &mut self.by_pid {
            let answer = connection.get(host, path).await;
            answers.push(answer.map_err(|error| format!("worker {pid}: {error}"))?);
        }
        Ok(answers)
    }

    /// The connections, with the workers' process ids.
    pub fn each(&mut self) -> impl Iterator<Item = (&str, &mut Connection)> {
        self.by_pid
            .iter_mut()
            .map(|(pid, connection)| (pid.as_str(), connection))
    }

    /// The workers' process ids.
    pub fn pids(&self) -> Vec<String> {
        self.by_pid.keys().cloned().collect()
    }
}

/// Opens connections until each of `count` workers has taken one. All are held
/// open meanwhile: a busy worker leaves the next one to another.
pub(crate) async fn one_to_each<C>(
    by_pid: &mut BTreeMap<String, C>,
    count: usize,
    mut open: impl AsyncFnMut() -> Result<(String, C), String>,
) -> Result<(), String> {
    let mut others = Vec::new();
    for _ in 0..TRIES {
        if by_pid.len() == count {
            return Ok(());
        }
        let (pid, connection) = open().await?;
        if let Some(other) = by_pid.insert(pid, connection) {
            others.push(other);
            others.truncate(HELD);
        }
    }
    let found = by_pid.len();
    Err(format!("only {found} of {count} workers took a connection"))
}
