//! A TCP relay before Redis: an address that moves to another server at a
//! fail-over, as a service address does.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to where it points. Dropped, it is gone.
pub struct Relay {
    addr: SocketAddr,
    target: watch::Sender<SocketAddr>,
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let (target, targets) = watch::channel(target);
        tokio::spawn(accept(listener, targets));
        Ok(Self { addr, target })
    }

    /// Its URL, as one of Redis.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Points to another server, and cuts all connections to the last one.
    pub fn point_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

async fn accept(listener: TcpListener, targets: watch::Receiver<SocketAddr>) {
    let mut ended = targets.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    tokio::spawn(pass(client, targets.clone()));
                }
            }
            gone = closed(&mut ended) => return gone,
        }
    }
}

async fn closed(targets: &mut watch::Receiver<SocketAddr>) {
    while targets.changed().await.is_ok() {}
}

async fn pass(mut client: TcpStream, mut targets: watch::Receiver<SocketAddr>) {
    let target = *targets.borrow_and_update();
    let Ok(mut server) = TcpStream::connect(target).await else {
        return;
    };
    let _fast = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        _ended = copy_bidirectional(&mut client, &mut server) => {}
        _moved = targets.changed() => {}
    }
}
