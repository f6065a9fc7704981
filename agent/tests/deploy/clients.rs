//! Clients of each edge that go on as long as a test does: kept connections,
//! long polls, uploads, WebSockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::http::Method;
use pointsman_harness::http::{self, Connection};
use pointsman_harness::wait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::PATIENCE;

const UPLOAD: usize = 300_000;
/// Messages over each WebSocket, and the pause between them.
const MESSAGES: usize = 5;
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kept,
    Poll,
    Upload,
    Socket,
}

const KINDS: [Kind; 4] = [Kind::Kept, Kind::Poll, Kind::Upload, Kind::Socket];

#[derive(Default)]
struct Counts {
    is_over: AtomicBool,
    done: [AtomicU64; 4],
    failures: Mutex<Vec<String>>,
}

/// What was done.
#[derive(Debug)]
pub struct Tally {
    /// Requests, polls, uploads, WebSockets.
    pub done: [u64; 4],
    pub failures: Vec<String>,
}

pub struct Clients {
    counts: Arc<Counts>,
    tasks: JoinSet<()>,
}

impl Clients {
    pub fn start(edges: &[SocketAddr], host: &'static str) -> Self {
        let counts = Arc::<Counts>::default();
        let mut tasks = JoinSet::new();
        for edge in edges {
            for kind in KINDS {
                tasks.spawn(go_on(Arc::clone(&counts), *edge, host, kind));
            }
        }
        Self { counts, tasks }
    }

    /// Waits until each kind has had answers since this was called.
    pub async fn each_kind_goes_on(&self) {
        let done = || KINDS.map(|kind| self.counts.done[kind as usize].load(Ordering::SeqCst));
        let before = done();
        wait::until("each kind of client goes on", PATIENCE, async || {
            let now = done();
            let all = now
                .iter()
                .zip(before)
                .all(|(now, before)| *now > before + 2);
            if all { Ok(()) } else { Err(format!("{now:?}")) }
        })
        .await
        .unwrap();
    }

    pub async fn stop(self) -> Tally {
        self.counts.is_over.store(true, Ordering::SeqCst);
        self.tasks.join_all().await;
        let failures = self.counts.failures.lock().unwrap();
        Tally {
            done: KINDS.map(|kind| self.counts.done[kind as usize].load(Ordering::SeqCst)),
            failures: failures.clone(),
        }
    }
}

async fn go_on(counts: Arc<Counts>, edge: SocketAddr, host: &'static str, kind: Kind) {
    let mut kept = None;
    while !counts.is_over.load(Ordering::SeqCst) {
        let done = match kind {
            Kind::Kept => quick(&mut kept, edge, host).await,
            Kind::Poll => one(edge, host, "/poll", "polled").await,
            Kind::Upload => upload(edge, host).await,
            Kind::Socket => socket(edge, host).await,
        };
        match done {
            Ok(()) => {
                counts.done[kind as usize].fetch_add(1, Ordering::SeqCst);
            }
            Err(what) => {
                let what = format!("{kind:?} at {edge}: {what}");
                counts.failures.lock().unwrap().push(what);
            }
        }
    }
}

/// A request over a kept connection; one that nginx has closed is opened again.
async fn quick(kept: &mut Option<Connection>, edge: SocketAddr, host: &str) -> Result<(), String> {
    if kept.as_ref().is_none_or(Connection::is_closed) {
        let opened = Connection::open(edge).await;
        *kept = Some(opened.map_err(|error| error.to_string())?);
    }
    let Some(connection) = kept else {
        return Err("no connection".to_owned());
    };
    let answer = connection.get(host, "/").await;
    let answer = match answer {
        Ok(answer) => answer,
        // nginx closes kept connections when it is reloaded; the request that
        // crosses that is not answered, and clients repeat it.
        Err(_) => {
            *kept = None;
            return one(edge, host, "/", "quick").await;
        }
    };
    expect(&answer, "quick")
}

async fn one(edge: SocketAddr, host: &str, path: &str, body: &str) -> Result<(), String> {
    let answer = http::get(edge, host, path).await;
    expect(&answer.map_err(|error| error.to_string())?, body)
}

async fn upload(edge: SocketAddr, host: &str) -> Result<(), String> {
    let body = "x".repeat(UPLOAD);
    let request = http::request(Method::POST, host, "/upload", Some(&body));
    let request = request.map_err(|error| error.to_string())?;
    let answer = http::send(edge, request).await;
    let answer = answer.map_err(|error| error.to_string())?;
    expect(&answer, &UPLOAD.to_string())
}

fn expect(answer: &http::HttpAnswer, body: &str) -> Result<(), String> {
    if answer.status == 200 && answer.text() == body {
        return Ok(());
    }
    let reason = answer.header("x-pointsman-error").unwrap_or_default();
    Err(format!("{} {reason} {:?}", answer.status, answer.text()))
}

async fn socket(edge: SocketAddr, host: &str) -> Result<(), String> {
    let exchange = async {
        let mut stream = TcpStream::connect(edge).await?;
        let head = format!(
            "GET /socket HTTP/1.1\r\nHost: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await?);
        }
        if !answer.starts_with(b"HTTP/1.1 101") {
            let head = String::from_utf8_lossy(&answer).into_owned();
            return Err(std::io::Error::other(head));
        }
        for _ in 0..MESSAGES {
            stream.write_all(b"ping").await?;
            let mut echo = [0; 4];
            stream.read_exact(&mut echo).await?;
            // How long a WebSocket stays, which is what the test is about.
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Ok(ended) => ended.map_err(|error| error.to_string()),
        Err(_) => Err("no answer".to_owned()),
    }
}
