//! Apps to route to: servers in this process that answer with their address.

use std::net::SocketAddr;

use axum::Router;
use axum::http::HeaderName;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The header that names the address which answered.
pub const SERVED_BY: &str = "x-served-by";

/// Servers, each on an address of its own. Dropped, they are gone.
pub struct Upstreams {
    pub addrs: Vec<SocketAddr>,
    _servers: JoinSet<()>,
}

impl Upstreams {
    /// Starts `count` of them.
    pub async fn start(count: usize) -> Self {
        let mut servers = JoinSet::new();
        let mut addrs = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let addr = listener.local_addr().unwrap();
            addrs.push(addr);
            let header = [(HeaderName::from_static(SERVED_BY), addr.to_string())];
            let app = Router::new().fallback(async || (header, "ok\n"));
            servers.spawn(async move { axum::serve(listener, app).await.unwrap() });
        }
        Self {
            addrs,
            _servers: servers,
        }
    }
}
