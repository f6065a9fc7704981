//! A TCP relay before etcd or Redis: an address that moves to another server at
//! a fail-over, as a service address does, and a network that is cut, slow, or
//! holds bytes back.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;

/// What the relay does with connections, which are numbered as they come.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    target: SocketAddr,
    /// New connections are closed at once.
    refuses: bool,
    /// Connections below this number are closed.
    closed_below: u64,
    /// Bytes of connections below this number are held back.
    held_below: u64,
    /// Bytes pass so late.
    delay: Duration,
}

/// Passes connections on to where it points. Dropped, it is gone.
pub struct Relay {
    addr: SocketAddr,
    way: watch::Sender<Way>,
    /// The number of the next connection.
    next: watch::Receiver<u64>,
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (way, ways) = watch::channel(Way {
            target,
            refuses: false,
            closed_below: 0,
            held_below: 0,
            delay: Duration::ZERO,
        });
        let (count, next) = watch::channel(0);
        tokio::spawn(accept(listener, ways, count));
        Ok(Self { addr, way, next })
    }

    /// Where it listens.
    pub fn listen(&self) -> SocketAddr {
        self.addr
    }

    /// Points to another server, and cuts all connections to the last one.
    pub fn point_to(&self, target: SocketAddr) {
        self.way.send_modify(|way| way.target = target);
    }

    /// Holds all bytes back, or passes them on again. Connections stay.
    pub fn hold(&self, is_held: bool) {
        self.way
            .send_modify(|way| way.held_below = if is_held { u64::MAX } else { 0 });
    }

    /// Holds back all bytes of the connections that are open now; new ones
    /// work. They stay open.
    pub fn hold_open_ones(&self) {
        let next = *self.next.borrow();
        self.way.send_modify(|way| way.held_below = next);
    }

    /// Closes all connections, and whatever comes.
    pub fn cut(&self) {
        let next = *self.next.borrow();
        self.way.send_modify(|way| {
            way.closed_below = next;
            way.refuses = true;
        });
    }

    /// Takes connections again.
    pub fn mend(&self) {
        self.way.send_modify(|way| way.refuses = false);
    }

    /// Passes all bytes on so much later, each way.
    pub fn delay(&self, delay: Duration) {
        self.way.send_modify(|way| way.delay = delay);
    }
}

async fn accept(listener: TcpListener, ways: watch::Receiver<Way>, count: watch::Sender<u64>) {
    let mut dropped = ways.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let refuses = ways.borrow().refuses;
                if let (Ok((client, _)), false) = (accepted, refuses) {
                    let number = *count.borrow();
                    count.send_replace(number + 1);
                    tokio::spawn(relay(client, number, ways.clone()));
                }
            }
            _ = dropped.wait_for(|_| false) => return,
        }
    }
}

async fn relay(client: TcpStream, number: u64, mut ways: watch::Receiver<Way>) {
    let target = ways.borrow_and_update().target;
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _fast = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let gone = |way: &Way| way.target != target || number < way.closed_below;
    tokio::select! {
        () = pass(from_client, to_server, number, ways.clone()) => {}
        () = pass(from_server, to_client, number, ways.clone()) => {}
        _gone = ways.wait_for(gone) => {}
    }
}

/// Passes bytes on until one side ends.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut ways: watch::Receiver<Way>,
) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let delay = ways.borrow().delay;
        sleep(delay).await;
        let free = ways.wait_for(|way| number >= way.held_below);
        if free.await.is_err() || to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
