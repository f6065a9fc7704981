//! The instances: servers in this process that know when a request came that
//! should not have come.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long an answer to a long poll takes.
const POLL: Duration = Duration::from_millis(700);

#[derive(Default)]
struct Seen {
    drained: AtomicBool,
    served: AtomicU64,
    late: AtomicU64,
}

/// An instance; dropped, it is stopped, and what is in flight breaks off.
pub struct Instance {
    pub id: String,
    pub addr: SocketAddr,
    seen: Arc<Seen>,
    server: JoinHandle<()>,
}

impl Instance {
    pub async fn start(id: &str) -> Self {
        let seen = Arc::<Seen>::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/", any(quick))
            .route("/poll", any(poll))
            .route("/upload", any(upload))
            .route("/socket", any(socket))
            .with_state(Arc::clone(&seen));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            id: id.to_owned(),
            addr,
            seen,
            server,
        }
    }

    /// From now on no request may come.
    pub fn is_drained(&self) {
        self.seen.drained.store(true, Ordering::SeqCst);
        self.server.abort();
    }

    pub fn served(&self) -> u64 {
        self.seen.served.load(Ordering::SeqCst)
    }

    pub fn late(&self) -> u64 {
        self.seen.late.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Seen {
    fn note(&self) {
        self.served.fetch_add(1, Ordering::SeqCst);
        if self.drained.load(Ordering::SeqCst) {
            self.late.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn quick(State(seen): State<Arc<Seen>>) -> &'static str {
    seen.note();
    "quick"
}

async fn poll(State(seen): State<Arc<Seen>>) -> &'static str {
    seen.note();
    // The length of the poll, which is what the test is about.
    tokio::time::sleep(POLL).await;
    "polled"
}

async fn upload(State(seen): State<Arc<Seen>>, body: Body) -> String {
    seen.note();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    bytes.len().to_string()
}

/// A WebSocket in so far as a proxy can tell: what comes goes back.
async fn socket(State(seen): State<Arc<Seen>>, request: Request) -> Response {
    seen.note();
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let mut stream = TokioIo::new(upgraded);
        let mut bytes = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut bytes).await {
            if stream.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    });
    let upgrade = [
        (header::UPGRADE, "websocket"),
        (header::CONNECTION, "upgrade"),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, upgrade).into_response()
}
