//! One kept connection to each worker of an nginx.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use pointsman_dev::http::{Answer, Connection};

/// Which of the workers takes a connection is up to the kernel; so many tries
/// see all of them.
const TRIES: usize = 5_000;

/// Connections by the workers' process ids.
pub struct Workers {
    by_pid: HashMap<String, Connection>,
}

impl Workers {
    /// Connects until each of `count` workers has taken a connection. All are
    /// held open meanwhile: a busy worker leaves the next one to another.
    pub async fn connect(edge: SocketAddr, count: usize) -> Self {
        let mut by_pid = HashMap::new();
        let mut others = Vec::new();
        for _ in 0..TRIES {
            let Ok(mut connection) = Connection::open(edge).await else {
                continue;
            };
            let Ok(answer) = connection.get("worker", "/_worker").await else {
                continue;
            };
            assert!(
                answer.status.is_success(),
                "no /_worker there: {}",
                answer.status
            );
            let pid = answer.text();
            match by_pid.entry(pid) {
                Entry::Vacant(place) => {
                    place.insert(connection);
                }
                Entry::Occupied(_) => {
                    others.push(connection);
                    others.truncate(500);
                }
            }
            if by_pid.len() == count {
                return Self { by_pid };
            }
        }
        panic!("only {} of {count} workers took a connection", by_pid.len());
    }

    /// The same request on each worker.
    pub async fn get_all(&mut self, host: &str, path: &str) -> Result<Vec<Answer>, String> {
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

    /// The connections alone.
    pub fn into_connections(self) -> impl Iterator<Item = Connection> {
        self.by_pid.into_values()
    }

    /// The workers' process ids.
    pub fn pids(&self) -> Vec<String> {
        self.by_pid.keys().cloned().collect()
    }
}
