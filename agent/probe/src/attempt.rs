//! One probe of one instance: a connection, or a GET or a gRPC call on a
//! connection of its own, perhaps over TLS. It follows no redirect and keeps
//! nothing open.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use nix::errno::Errno;
use pointsman_model::Chain;
use pointsman_model::{CheckKind, FaultClass, HealthCheck};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

mod grpc;
mod tls;

const USER_AGENT: &str = "pointsman-probe";
/// Only so much of a body is looked through.
const BODY: usize = 64 << 10;
/// What hyper buffers of an answer's head at the most.
const HEAD: usize = 64 << 10;
/// A time-out that is noticed later than this was not the instance's fault:
/// the agent stood still.
const STOOD_STILL: Duration = Duration::from_millis(500);

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The instance answers as it should.
    Good,
    /// It does not.
    Bad(ProbeFault, String),
    /// The agent could not probe; that says nothing about the instance.
    Own(String),
}

/// In what way an instance does not answer as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProbeFault {
    /// There is no connection to it.
    Connect,
    /// TLS failed, or the certificate is not to be trusted.
    Tls,
    /// Not done in time.
    Timeout,
    /// A status that is not expected, of HTTP or gRPC.
    Status,
    /// The body lacks what is expected.
    Body,
    /// No HTTP or gRPC, or it broke off.
    Broken,
}

impl ProbeFault {
    /// What tenants are told of it.
    pub(super) fn class(self) -> FaultClass {
        match self {
            ProbeFault::Connect => FaultClass::Refused,
            ProbeFault::Tls => FaultClass::Tls,
            ProbeFault::Timeout => FaultClass::Timeout,
            ProbeFault::Status => FaultClass::Status,
            ProbeFault::Body => FaultClass::Body,
            ProbeFault::Broken => FaultClass::Broken,
        }
    }
}

impl Outcome {
    /// The label in the metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Outcome::Good => "good",
            Outcome::Bad(ProbeFault::Connect, _) => "connect",
            Outcome::Bad(ProbeFault::Tls, _) => "tls",
            Outcome::Bad(ProbeFault::Timeout, _) => "timeout",
            Outcome::Bad(ProbeFault::Status, _) => "status",
            Outcome::Bad(ProbeFault::Body, _) => "body",
            Outcome::Bad(ProbeFault::Broken, _) => "broken",
            Outcome::Own(_) => "own",
        }
    }
}

/// Whoever asks instances; in tests of the prober not a socket.
#[async_trait]
pub(super) trait Ask: fmt::Debug + Send + Sync {
    /// Probes the instance at `addr`. It takes no longer than the check's
    /// time-out.
    async fn ask(&self, check: &HealthCheck, addr: SocketAddr) -> Outcome;
}

/// Asks over the network.
#[derive(Debug)]
pub(super) struct Network;

#[async_trait]
impl Ask for Network {
    async fn ask(&self, check: &HealthCheck, addr: SocketAddr) -> Outcome {
        attempt(check, addr).await
    }
}

async fn attempt(check: &HealthCheck, addr: SocketAddr) -> Outcome {
    let begun = Instant::now();
    let patience = check.timeout();
    let outcome = timeout(patience, async {
        let stream = TcpStream::connect(addr).await.map_err(not_connected)?;
        if check.tls {
            let stream = tls::handshake(check, addr, stream).await?;
            talk(check, addr, stream).await
        } else {
            talk(check, addr, stream).await
        }
    });
    match outcome.await {
        Ok(Ok(())) => Outcome::Good,
        Ok(Err(outcome)) => outcome,
        Err(_) if begun.elapsed() > patience + STOOD_STILL => {
            Outcome::Own("the agent stood still meanwhile".to_owned())
        }
        Err(_) => {
            let patience = humantime::format_duration(patience);
            Outcome::Bad(ProbeFault::Timeout, format!("no answer within {patience}"))
        }
    }
}

/// What is spoken over: TCP, or TLS.
trait ProbeStream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> ProbeStream for S {}

/// Tries what is to be tried over a connection that stands.
async fn talk(
    check: &HealthCheck,
    addr: SocketAddr,
    stream: impl ProbeStream,
) -> Result<(), Outcome> {
    match check.kind {
        CheckKind::Tcp => Ok(()),
        CheckKind::Http => get(check, addr, stream).await,
        CheckKind::Grpc => grpc::ask(check, addr, stream).await,
    }
}

/// The host that is asked for.
fn host(check: &HealthCheck, addr: SocketAddr) -> String {
    match &check.host {
        Some(host) => host.as_str().to_owned(),
        None => addr.to_string(),
    }
}

/// Errors that say something about this machine, not about the other one.
fn is_own(error: &io::Error) -> bool {
    let Some(code) = error.raw_os_error() else {
        return false;
    };
    matches!(
        Errno::from_raw(code),
        Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EAGAIN
            | Errno::EADDRNOTAVAIL
            | Errno::EACCES
            | Errno::EPERM
    )
}

fn not_connected(error: io::Error) -> Outcome {
    if is_own(&error) {
        return Outcome::Own(format!("no connection can be opened: {error}"));
    }
    Outcome::Bad(ProbeFault::Connect, format!("no connection: {error}"))
}

fn broken(error: hyper::Error) -> Outcome {
    Outcome::Bad(ProbeFault::Broken, format!("no answer: {}", Chain(&error)))
}

async fn get(
    check: &HealthCheck,
    addr: SocketAddr,
    stream: impl ProbeStream,
) -> Result<(), Outcome> {
    let request = Request::get(check.path())
        .header(header::HOST, host(check, addr))
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Outcome::Own(format!("the request is not valid: {error}")))?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(broken)?;
        judge(check, answer).await
    };
    driven(exchange, connection).await
}

/// What is exchanged over a connection that must be driven meanwhile.
async fn driven<C: Future>(
    exchange: impl Future<Output = Result<(), Outcome>>,
    connection: C,
) -> Result<(), Outcome> {
    tokio::pin!(exchange, connection);
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            outcome = &mut exchange => return outcome,
            // Its error, if it has one, reaches the exchange.
            _ = &mut connection, if open => open = false,
        }
    }
}

async fn judge(check: &HealthCheck, answer: hyper::Response<Incoming>) -> Result<(), Outcome> {
    let status = answer.status().as_u16();
    if !check.accepts(status) {
        return Err(Outcome::Bad(ProbeFault::Status, format!("status {status}")));
    }
    let Some(wanted) = &check.body else {
        return Ok(());
    };
    let mut body = answer.into_body();
    let mut seen = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        // What is wanted may begin in what was seen before.
        let from = seen.len().saturating_sub(wanted.len());
        let room = BODY - seen.len();
        seen.extend_from_slice(&data[..data.len().min(room)]);
        let mut places = seen[from..].windows(wanted.len());
        if places.any(|place| place == wanted.as_bytes()) {
            return Ok(());
        }
        if seen.len() == BODY {
            break;
        }
    }
    Err(Outcome::Bad(
        ProbeFault::Body,
        format!("the body lacks {:?}", &**wanted),
    ))
}

#[cfg(test)]
mod tests;
