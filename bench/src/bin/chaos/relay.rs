//! A TCP relay before Redis: an address that moves to another server at a
//! fail-over, as a service address does, and a network that holds bytes back.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the relay does with connections.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Way {
    target: SocketAddr,
    is_held: bool,
}

/// Passes connections on to where it points. Dropped, it is gone.
pub struct Relay {
    addr: SocketAddr,
    way: watch::Sender<Way>,
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (way, ways) = watch::channel(Way {
            target,
            is_held: false,
        });
        tokio::spawn(accept(listener, ways));
        Ok(Self { addr, way })
    }

    /// Its URL, as one of Redis.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Points to another server, and cuts all connections to the last one.
    pub fn point_to(&self, target: SocketAddr) {
        self.way.send_modify(|way| way.target = target);
    }

    /// Holds all bytes back, or passes them on again. Connections stay.
    pub fn hold(&self, is_held: bool) {
        self.way.send_modify(|way| way.is_held = is_held);
    }
}

async fn accept(listener: TcpListener, ways: watch::Receiver<Way>) {
    let mut dropped = ways.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(relay(client, ways.clone()));
                }
            }
            _ = dropped.wait_for(|_| false) => return,
        }
    }
}

async fn relay(client: TcpStream, mut ways: watch::Receiver<Way>) {
    let target = ways.borrow_and_update().target;
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    let _fast = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = pass(from_client, to_server, ways.clone()) => {}
        () = pass(from_server, to_client, ways.clone()) => {}
        _moved = ways.wait_for(|way| way.target != target) => {}
    }
}

/// Passes bytes on until one side ends.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut ways: watch::Receiver<Way>) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = match from.read(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        if ways.wait_for(|way| !way.is_held).await.is_err()
            || to.write_all(&bytes[..read]).await.is_err()
        {
            return;
        }
    }
}
