//! A constant, bounded load of requests, and what came of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pointsman_dev::http::Connection;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::workers::Workers;

/// What was answered, and how often.
pub type Tally = BTreeMap<String, u64>;

/// Which host a client asks for next: it gets its count of requests so far.
pub type NextHost = Arc<dyn Fn(usize) -> String + Send + Sync>;

/// These hosts in turn.
pub fn in_turn(hosts: &[String]) -> NextHost {
    let hosts = hosts.to_vec();
    Arc::new(move |turn| hosts[turn % hosts.len()].clone())
}

/// Clients that send one request after the other.
pub struct Load {
    edge: SocketAddr,
    stop: Arc<AtomicBool>,
    clients: JoinSet<Tally>,
}

impl Load {
    /// `clients` of them, each over a kept connection, with a short pause
    /// after each request.
    pub fn start(edge: SocketAddr, clients: usize, hosts: &[String], pause: Duration) -> Self {
        let mut load = Self::none(edge);
        for number in 0..clients {
            load.add(None, number, in_turn(hosts), pause);
        }
        load
    }

    /// One for each worker of nginx, over the connections to them.
    pub fn on_each_worker(
        edge: SocketAddr,
        workers: Workers,
        next: &NextHost,
        pause: Duration,
    ) -> Self {
        let mut load = Self::none(edge);
        for (number, connection) in workers.into_connections().enumerate() {
            load.add(Some(connection), number * 7, Arc::clone(next), pause);
        }
        load
    }

    fn none(edge: SocketAddr) -> Self {
        Self {
            edge,
            stop: Arc::default(),
            clients: JoinSet::new(),
        }
    }

    fn add(&mut self, kept: Option<Connection>, first: usize, next: NextHost, pause: Duration) {
        let (edge, stop) = (self.edge, Arc::clone(&self.stop));
        self.clients
            .spawn(client(edge, kept, first, next, pause, stop));
    }

    /// Ends it; answers the tally of all clients.
    pub async fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut tally = Tally::new();
        for part in self.clients.join_all().await {
            for (what, count) in part {
                *tally.entry(what).or_default() += count;
            }
        }
        tally
    }
}

async fn client(
    edge: SocketAddr,
    mut kept: Option<Connection>,
    first: usize,
    next: NextHost,
    pause: Duration,
    stop: Arc<AtomicBool>,
) -> Tally {
    let mut tally = Tally::new();
    let mut turn = first;
    while !stop.load(Ordering::Relaxed) {
        let host = next(turn);
        turn += 1;
        let what = match ask(&mut kept, edge, &host).await {
            Ok(what) => what,
            Err(error) => {
                kept = None;
                error
            }
        };
        *tally.entry(what).or_default() += 1;
        sleep(pause).await;
    }
    tally
}

async fn ask(
    kept: &mut Option<Connection>,
    edge: SocketAddr,
    host: &str,
) -> Result<String, String> {
    // nginx closes idle connections when it reloads; a client sees that and
    // takes a new one.
    if kept.as_ref().is_none_or(Connection::is_closed) {
        *kept = Some(
            Connection::open(edge)
                .await
                .map_err(|error| format!("{error}"))?,
        );
    }
    let Some(connection) = kept else {
        return Err("no connection".to_owned());
    };
    let answer = connection
        .get(host, "/")
        .await
        .map_err(|error| match error.source_text() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })?;
    Ok(match answer.header("x-pointsman-error") {
        Some(reason) => format!("{} {reason}", answer.status.as_u16()),
        None => answer.status.as_u16().to_string(),
    })
}

trait SourceText {
    fn source_text(&self) -> Option<String>;
}

impl<E: std::error::Error> SourceText for E {
    fn source_text(&self) -> Option<String> {
        self.source().map(ToString::to_string)
    }
}
