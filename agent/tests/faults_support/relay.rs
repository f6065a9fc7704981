//! A TCP relay that can cut its connections, refuse new ones, or hold back
//! every byte of those that are open, as a network does that has lost a route:
//! nothing is closed, nothing arrives.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What becomes of a connection, by its number.
#[derive(Clone, Copy)]
struct Rules {
    /// Where new connections lead to.
    target: SocketAddr,
    /// Connections below this number are closed.
    closed_below: u64,
    /// Connections below this number are held.
    held_below: u64,
    /// New connections are closed at once.
    refuses: bool,
    /// How many there were.
    count: u64,
}

/// The relay. Dropped, it closes all.
pub struct Relay {
    listen: SocketAddr,
    rules: Arc<watch::Sender<Rules>>,
    task: JoinHandle<()>,
}

impl Relay {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = listener.local_addr().unwrap();
        let rules = Arc::new(watch::Sender::new(Rules {
            target,
            closed_below: 0,
            held_below: 0,
            refuses: false,
            count: 0,
        }));
        let task = tokio::spawn(accept(listener, Arc::clone(&rules)));
        Self {
            listen,
            rules,
            task,
        }
    }

    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Closes what is open, and whatever comes.
    pub fn cut(&self) {
        self.rules.send_modify(|rules| {
            rules.closed_below = rules.count;
            rules.refuses = true;
        });
    }

    /// Lets new connections through again.
    pub fn mend(&self) {
        self.rules.send_modify(|rules| rules.refuses = false);
    }

    /// Holds back all bytes of the connections that are open now, for ever.
    pub fn hold(&self) {
        self.rules
            .send_modify(|rules| rules.held_below = rules.count);
    }

    /// Leads new connections to another place.
    pub fn lead_to(&self, target: SocketAddr) {
        self.rules.send_modify(|rules| rules.target = target);
    }

    /// How many connections there were.
    pub fn count(&self) -> u64 {
        self.rules.borrow().count
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, rules: Arc<watch::Sender<Rules>>) {
    // Dropped with this task, which closes all connections.
    let mut pairs = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        let Rules {
            target,
            refuses,
            count,
            ..
        } = *rules.borrow();
        if refuses {
            continue;
        }
        rules.send_modify(|rules| rules.count += 1);
        pairs.spawn(relay(near, target, count, rules.subscribe()));
        while pairs.try_join_next().is_some() {}
    }
}

async fn relay(
    near: TcpStream,
    target: SocketAddr,
    number: u64,
    mut rules: watch::Receiver<Rules>,
) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    let (near, far) = (near.into_split(), far.into_split());
    let (up, down) = (rules.clone(), rules.clone());
    tokio::select! {
        () = pump(near.0, far.1, number, up) => {}
        () = pump(far.0, near.1, number, down) => {}
        _ = rules.wait_for(|rules| rules.closed_below > number) => {}
    }
}

async fn pump(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    number: u64,
    mut rules: watch::Receiver<Rules>,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        // Nothing is read before what was held may go on: bytes wait where
        // they are, and an end is not seen.
        let free = rules.wait_for(|rules| rules.held_below <= number);
        if free.await.is_err() {
            return;
        }
        let read = from.read(&mut buffer).await.unwrap_or(0);
        let free = rules.wait_for(|rules| rules.held_below <= number);
        if read == 0 || free.await.is_err() || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
