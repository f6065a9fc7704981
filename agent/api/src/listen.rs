//! Serving the admin API's connections, within limits.
//!
//! A client that sends half a request, or does not read its answer, costs a
//! connection for seconds only. A shutdown waits for requests that have
//! arrived, not for those that may still come.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use tracing::{debug, warn};

/// How long to wait after an error of the listener, like too many open files.
const AFTER_ERROR: Duration = Duration::from_secs(1);
/// How long the last answer may take to be sent at a shutdown.
const FAREWELL: Duration = Duration::from_millis(500);

/// What a client may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are open at a time; more have to wait.
    pub connections: usize,
    /// How long a request's head may take, and how long a connection may idle.
    pub head: Duration,
    /// How long a client may leave a part of its answer unread.
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Below the 1,024 open files that a process has by default.
            connections: 800,
            head: Duration::from_secs(10),
            answer: Duration::from_secs(10),
        }
    }
}

/// Serves `router` until `stop`, and then finishes the requests that are there.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
) -> Result<(), Infallible> {
    let room = Arc::new(Semaphore::new(limits.connections));
    let mut open = JoinSet::new();
    while let Some((stream, permit)) = stop.run_until_cancelled(next(&listener, &room)).await {
        open.spawn(connection(
            stream,
            router.clone(),
            limits,
            stop.clone(),
            permit,
        ));
        while open.try_join_next().is_some() {}
    }
    drop(listener);
    while open.join_next().await.is_some() {}
    Ok(())
}

async fn next(listener: &TcpListener, room: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        if room.available_permits() == 0 {
            debug!("all connections are taken; the next one waits");
        }
        let permit = Arc::clone(room).acquire_owned().await;
        match (listener.accept().await, permit) {
            (Ok((stream, _)), Ok(permit)) => return (stream, permit),
            (Err(error), _) => {
                warn!(%error, "the admin API cannot accept a connection");
                sleep(AFTER_ERROR).await;
            }
            // The semaphore is never closed.
            (Ok(_), Err(_)) => {}
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    limits: Limits,
    stop: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let peer = stream.peer_addr().ok();
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(limits.answer));
    let at_work = AtomicUsize::new(0);
    let service = service_fn(|request: hyper::Request<Incoming>| {
        at_work.fetch_add(1, Ordering::Relaxed);
        let mut request = request.map(Body::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(ConnectInfo(peer));
        }
        let answer = router.clone().oneshot(request);
        let at_work = &at_work;
        async move {
            let answer = answer.await;
            at_work.fetch_sub(1, Ordering::Relaxed);
            answer
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(Box::pin(stream)), service);
    let mut served = pin!(served);
    tokio::select! {
        ended = &mut served => return note(peer, ended),
        () = stop.cancelled() => served.as_mut().graceful_shutdown(),
    }
    loop {
        tokio::select! {
            ended = &mut served => return note(peer, ended),
            () = sleep(FAREWELL) => {
                if at_work.load(Ordering::Relaxed) == 0 {
                    return debug!(?peer, "half a request is not waited for");
                }
            }
        }
    }
}

fn note(peer: Option<SocketAddr>, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        debug!(?peer, %error, "a connection broke off");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::*;

    /// Long enough for a slow machine; nothing waits for it when all is well.
    const LONG: Duration = Duration::from_secs(30);
    const HALF: &[u8] = b"GET /quick HTTP/1.1\r\nHost: a\r\nX-Half: ";
    /// Never within a test.
    const PATIENT: Limits = Limits {
        connections: 10,
        head: Duration::from_secs(3600),
        answer: Duration::from_secs(3600),
    };

    struct Server {
        at: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<Result<(), Infallible>>,
        /// Lets requests for `/slow` come to their end.
        go: Arc<Notify>,
        /// How many of them have arrived.
        arrived: Arc<Semaphore>,
    }

    impl Server {
        async fn start(limits: Limits) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let (go, arrived) = (Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
            let (may_go, told) = (Arc::clone(&go), Arc::clone(&arrived));
            let slow = async move || {
                told.add_permits(1);
                may_go.notified().await;
                "slow"
            };
            let router = Router::new()
                .route("/quick", get(async || "quick"))
                .route("/large", get(async || vec![b'x'; 64 << 20]))
                .route("/slow", get(slow));
            let stop = CancellationToken::new();
            let task = tokio::spawn(serve(listener, router, limits, stop.clone()));
            Self {
                at,
                stop,
                task,
                go,
                arrived,
            }
        }

        async fn send(&self, bytes: &[u8]) -> TcpStream {
            let mut stream = TcpStream::connect(self.at).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        }

        async fn get(&self, path: &str) -> TcpStream {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            self.send(head.as_bytes()).await
        }

        async fn stops(self) {
            timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
        }
    }

    /// All that still comes, up to the end of the connection.
    async fn rest(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let read = timeout(LONG, stream.read_to_end(&mut bytes)).await;
        // A connection that is dropped with something unread is reset.
        let _reset = read.expect("the connection is closed");
        String::from_utf8(bytes).unwrap()
    }

    #[tokio::test]
    async fn half_a_head_and_an_idle_connection_are_given_up() {
        let server = Server::start(Limits {
            head: Duration::from_millis(50),
            ..PATIENT
        })
        .await;
        for sent in [HALF, b""] {
            let mut stream = server.send(sent).await;
            assert_eq!(rest(&mut stream).await, "", "{sent:?}");
        }
        let mut kept = server.send(b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(rest(&mut kept).await.ends_with("quick"), "and then closed");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_is_given_up() {
        let limits = Limits {
            connections: 1,
            answer: Duration::from_millis(50),
            ..PATIENT
        };
        let server = Server::start(limits).await;
        let _unread = server.get("/large").await;
        let mut next = server.get("/quick").await;
        assert!(rest(&mut next).await.ends_with("quick"));
    }

    #[tokio::test]
    async fn no_more_connections_are_served_at_a_time_than_the_limit_says() {
        let limits = Limits {
            connections: 2,
            ..PATIENT
        };
        let server = Server::start(limits).await;
        let held = [server.get("/slow").await, server.get("/slow").await];
        let both = timeout(LONG, server.arrived.acquire_many(2));
        both.await.unwrap().unwrap().forget();
        let mut third = server.get("/quick").await;
        let early = timeout(Duration::from_millis(100), third.read_u8()).await;
        assert!(early.is_err(), "it has to wait");
        drop(held);
        assert!(rest(&mut third).await.ends_with("quick"));
    }

    #[tokio::test]
    async fn a_shutdown_does_not_wait_for_what_has_not_arrived() {
        let server = Server::start(PATIENT).await;
        let mut halves = Vec::new();
        for sent in [HALF, HALF, b""] {
            halves.push(server.send(sent).await);
        }
        // All of those before it were accepted.
        assert!(
            rest(&mut server.get("/quick").await)
                .await
                .ends_with("quick")
        );
        server.stop.cancel();
        server.stops().await;
        for half in &mut halves {
            assert_eq!(rest(half).await, "");
        }
    }

    #[tokio::test]
    async fn a_shutdown_answers_the_requests_that_are_there() {
        let server = Server::start(PATIENT).await;
        let mut slow = server.get("/slow").await;
        let arrived = timeout(LONG, server.arrived.acquire());
        arrived.await.unwrap().unwrap().forget();
        server.stop.cancel();
        let patience = timeout(FAREWELL * 3, slow.read_u8()).await;
        assert!(patience.is_err(), "it waits for the handler");
        server.go.notify_one();
        assert!(rest(&mut slow).await.ends_with("slow"));
        server.stops().await;
    }
}
