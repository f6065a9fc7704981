//! A small HTTP client that shows its connections: to ask what was started
//! whether it answers, and to keep one connection to each nginx worker.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No answer takes longer than this; a test would hang else.
const PATIENCE: Duration = Duration::from_secs(10);

/// An exchange failed.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection.
    #[error("could not connect to {0}")]
    Connect(SocketAddr, #[source] std::io::Error),
    /// The request could not be built.
    #[error("the request is not valid")]
    Request(#[from] axum::http::Error),
    /// The exchange broke off.
    #[error("the exchange broke off")]
    Exchange(#[from] hyper::Error),
    /// No answer in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Patience,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl HttpAnswer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// One connection, kept open.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects.
    pub async fn open(addr: SocketAddr) -> Result<Self, HttpError> {
        let stream = TcpStream::connect(addr)
            .await
            .map_err(|error| HttpError::Connect(addr, error))?;
        stream
            .set_nodelay(true)
            .map_err(|error| HttpError::Connect(addr, error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // Its errors reach whoever waits for an answer.
            let _ended = connection.await;
        });
        Ok(Self { sender, driver })
    }

    /// Sends a request and waits for the whole answer.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<HttpAnswer, HttpError> {
        timeout(PATIENCE, async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(HttpAnswer {
                status: head.status,
                headers: head.headers,
                body,
            })
        })
        .await
        .map_err(|_| HttpError::Patience)?
    }

    /// GET of a path of a host.
    pub async fn get(&mut self, host: &str, path: &str) -> Result<HttpAnswer, HttpError> {
        self.send(request(Method::GET, host, path, None)?).await
    }

    /// Whether the other side has closed it.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// GET on a connection of its own.
pub async fn get(addr: SocketAddr, host: &str, path: &str) -> Result<HttpAnswer, HttpError> {
    send(addr, request(Method::GET, host, path, None)?).await
}

/// A request with a JSON body on a connection of its own.
pub async fn send_json(
    addr: SocketAddr,
    method: Method,
    path: &str,
    json: &str,
) -> Result<HttpAnswer, HttpError> {
    send(addr, request(method, &addr.to_string(), path, Some(json))?).await
}

/// Any request on a connection of its own.
pub async fn send(
    addr: SocketAddr,
    request: Request<Full<Bytes>>,
) -> Result<HttpAnswer, HttpError> {
    timeout(PATIENCE, async {
        Connection::open(addr).await?.send(request).await
    })
    .await
    .map_err(|_| HttpError::Patience)?
}

/// Builds a request.
pub fn request(
    method: Method,
    host: &str,
    path: &str,
    json: Option<&str>,
) -> Result<Request<Full<Bytes>>, HttpError> {
    let mut builder = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host);
    if json.is_some() {
        builder = builder.header(header::CONTENT_TYPE, "application/json");
    }
    Ok(builder.body(Full::new(Bytes::from(json.unwrap_or_default().to_owned())))?)
}
