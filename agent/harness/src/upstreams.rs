//! Apps to route to: servers in this process that answer with their name,
//! registered or not. So a stale route is seen, and not only refused.

use std::net::SocketAddr;

use axum::Router;
use axum::http::HeaderName;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The header that names what answered.
pub const SERVED_BY: &str = "x-served-by";

/// Servers, each on an address of its own. Dropped, they are gone.
#[derive(Default)]
pub struct Upstreams {
    /// Where they listen.
    pub addrs: Vec<SocketAddr>,
    servers: JoinSet<()>,
}

impl Upstreams {
    /// Starts `count` of them, each named by its address.
    pub async fn start(count: usize) -> Self {
        let mut all = Self::default();
        for _ in 0..count {
            all.add(None).await;
        }
        all
    }

    /// Starts one more, named so or by its address; answers where it listens.
    pub async fn add(&mut self, name: Option<&str>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let name = name.map_or_else(|| addr.to_string(), str::to_owned);
        let header = [(HeaderName::from_static(SERVED_BY), name)];
        let app = Router::new().fallback(async || (header, "ok\n"));
        self.servers
            .spawn(async move { axum::serve(listener, app).await.unwrap() });
        self.addrs.push(addr);
        addr
    }
}
