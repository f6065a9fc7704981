//! The instances: servers in this process that know which requests came, and were
//! under way, when none should have been.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
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
use tokio::task::{JoinHandle, JoinSet};

/// How long an answer to a long poll takes.
const POLL: Duration = Duration::from_millis(700);

#[derive(Default)]
struct Seen {
    drained: AtomicBool,
    served: AtomicU64,
    under_way: AtomicU64,
    broken: AtomicU64,
    late: AtomicU64,
    sockets: Mutex<JoinSet<()>>,
}

/// A request that is under way, until this is dropped.
struct UnderWay(Arc<Seen>);

/// An instance; dropped, it is stopped.
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

    /// From now on no request may come, and none may be under way: WebSockets
    /// break off. It goes on listening, since a connection that is refused would
    /// be tried elsewhere, and nobody would know.
    pub fn is_drained(&self) {
        self.seen.drained.store(true, Ordering::SeqCst);
        let under_way = self.seen.under_way.load(Ordering::SeqCst);
        self.seen.broken.store(under_way, Ordering::SeqCst);
        self.seen.sockets.lock().unwrap().abort_all();
    }

    pub fn served(&self) -> u64 {
        self.seen.served.load(Ordering::SeqCst)
    }

    /// Requests that came after the drain.
    pub fn late(&self) -> u64 {
        self.seen.late.load(Ordering::SeqCst)
    }

    /// Requests that were under way when the drain was confirmed.
    pub fn broken(&self) -> u64 {
        self.seen.broken.load(Ordering::SeqCst)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl UnderWay {
    fn begin(seen: Arc<Seen>) -> Self {
        seen.under_way.fetch_add(1, Ordering::SeqCst);
        seen.served.fetch_add(1, Ordering::SeqCst);
        if seen.drained.load(Ordering::SeqCst) {
            seen.late.fetch_add(1, Ordering::SeqCst);
        }
        Self(seen)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn quick(State(seen): State<Arc<Seen>>) -> &'static str {
    let _under_way = UnderWay::begin(seen);
    "quick"
}

async fn poll(State(seen): State<Arc<Seen>>) -> &'static str {
    let _under_way = UnderWay::begin(seen);
    // The length of the poll, which is what the test is about.
    tokio::time::sleep(POLL).await;
    "polled"
}

async fn upload(State(seen): State<Arc<Seen>>, body: Body) -> String {
    let _under_way = UnderWay::begin(seen);
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    bytes.len().to_string()
}

/// A WebSocket in so far as a proxy can tell: what comes goes back. What breaks
/// one off is seen by its client.
async fn socket(State(seen): State<Arc<Seen>>, request: Request) -> Response {
    let _under_way = UnderWay::begin(Arc::clone(&seen));
    let upgrade = hyper::upgrade::on(request);
    seen.sockets.lock().unwrap().spawn(async move {
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
