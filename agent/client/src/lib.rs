//! A client of the admin API. One connection for each call: whoever gives up a
//! call ends its connection, and with it a wait at the agent.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::HeaderName;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pointsman_wire::{
    Changed, DrainAnswer, EdgeList, EventList, EventsQuery, ExplainAnswer, ExplainQuery,
    ProblemBody, StatusAnswer, WaitAnswer,
};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;

mod events;

pub use events::{EventStream, FollowedEvent};

/// The variable that names the agent's address, for those who do not give it.
pub const API_VARIABLE: &str = "POINTSMAN_API";
/// Where an agent listens by default.
pub const DEFAULT_API: &str = "http://127.0.0.1:8081";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take, beyond what the agent was asked to wait.
const PATIENCE: Duration = Duration::from_secs(30);
/// No answer is larger: a list has 1,000 entries.
const LARGEST_ANSWER: usize = 64 << 20;
/// What stands for itself in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Why a call has no answer that is good.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The address is not one of an agent.
    #[error("{0:?} is not the address of an agent: give http://host:port")]
    Address(String),
    /// There is no connection.
    #[error("no agent answers at {address}: {reason}")]
    Connect {
        /// Where it was tried.
        address: String,
        /// What the system says.
        reason: String,
    },
    /// The connection broke off, or what came is not HTTP.
    #[error("the agent at {address} gave no answer: {reason}")]
    Broken {
        /// Where it was tried.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// What came is not what this program understands.
    #[error("the answer of {address} cannot be read: {reason}")]
    Unreadable {
        /// Who answered.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The agent refuses, or could not do it in time.
    #[error("{}", .0.detail)]
    Refused(Box<ProblemBody>),
}

impl CallError {
    /// The problem that the agent answered with.
    pub fn problem(&self) -> Option<&ProblemBody> {
        match self {
            CallError::Refused(problem) => Some(problem),
            _ => None,
        }
    }
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCondition {
    /// Nothing.
    Always,
    /// The thing is not there.
    Absent,
    /// The thing was last changed at this revision.
    ChangedAt(i64),
}

/// A client of one agent.
#[derive(Clone, Debug)]
pub struct AgentClient {
    /// `host:port`.
    authority: String,
    /// What paths begin with.
    base: String,
    /// Whether writes are made even if they take much out of service.
    force: bool,
}

impl AgentClient {
    /// A client of the agent at `http://host[:port][/base]`; nothing is sent
    /// yet.
    pub fn new(address: &str) -> Result<Self, CallError> {
        let bad = || CallError::Address(address.to_owned());
        let uri: Uri = address.parse().map_err(|_| bad())?;
        let authority = uri.authority().filter(|_| uri.query().is_none());
        match (uri.scheme_str(), authority) {
            (Some("http"), Some(authority)) if !authority.as_str().contains('@') => {
                let port = match authority.port_u16() {
                    Some(_) => String::new(),
                    None => ":80".to_owned(),
                };
                Ok(Self {
                    authority: format!("{authority}{port}"),
                    base: uri.path().trim_end_matches('/').to_owned(),
                    force: false,
                })
            }
            _ => Err(bad()),
        }
    }

    /// The same client, whose writes are made even if they take more than half
    /// of the live instances out of service.
    pub fn forced(self, force: bool) -> Self {
        Self { force, ..self }
    }

    /// Calls the API: a path with its query, and a body of JSON. `wait` is how
    /// long the agent was asked to wait.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        wait: Duration,
    ) -> Result<T, CallError> {
        self.called(method, path, body, None, wait).await
    }

    /// Writes one thing, a PUT with its body or a DELETE; `wait` is how long
    /// to wait until the write is live on every edge.
    pub async fn write(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        condition: WriteCondition,
        wait: Option<Duration>,
    ) -> Result<Changed, CallError> {
        let header = match condition {
            WriteCondition::Always => None,
            WriteCondition::Absent => Some((header::IF_NONE_MATCH, "*".to_owned())),
            WriteCondition::ChangedAt(revision) => {
                Some((header::IF_MATCH, format!("\"{revision}\"")))
            }
        };
        let asked = [
            wait.map(|wait| format!("wait={}", duration(wait))),
            self.force.then(|| "force=true".to_owned()),
        ];
        let path = asked
            .into_iter()
            .flatten()
            .fold(path.to_owned(), |path, asked| {
                let sign = if path.contains('?') { '&' } else { '?' };
                format!("{path}{sign}{asked}")
            });
        let wait = wait.unwrap_or_default();
        self.called(method, &path, body, header, wait).await
    }

    async fn called<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        header: Option<(HeaderName, String)>,
        wait: Duration,
    ) -> Result<T, CallError> {
        let answer = async {
            let answer = self.send(method, path, body, header).await?;
            self.read(answer).await
        };
        let patience = wait + PATIENCE;
        let (status, text) = match timeout(patience, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.broken(format!("none within {patience:?}"))),
        };
        if status.is_success() {
            return serde_json::from_slice(&text).map_err(|error| self.unreadable(status, &error));
        }
        Err(self.refused(status, &text))
    }

    /// Sends a request; answers as soon as the head of the answer is there.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
        header: Option<(HeaderName, String)>,
    ) -> Result<Response<Incoming>, CallError> {
        let mut sender = self.connect().await?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::HOST, &self.authority);
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
        let request = request
            .body(body)
            .map_err(|error| self.broken(error.to_string()))?;
        let answer = sender.send_request(request).await;
        answer.map_err(|error| self.broken(error.to_string()))
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<(StatusCode, Bytes), CallError> {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect();
        let body = body.await.map_err(|error| self.broken(error.to_string()))?;
        Ok((status, body.to_bytes()))
    }

    fn broken(&self, reason: String) -> CallError {
        CallError::Broken {
            address: self.address(),
            reason,
        }
    }

    fn unreadable(&self, status: StatusCode, error: &serde_json::Error) -> CallError {
        CallError::Unreadable {
            address: self.address(),
            reason: format!("status {status}, {error}"),
        }
    }

    /// The error of an answer that is not a success.
    fn refused(&self, status: StatusCode, text: &[u8]) -> CallError {
        match serde_json::from_slice(text) {
            Ok(problem) => CallError::Refused(Box::new(problem)),
            Err(error) => self.unreadable(status, &error),
        }
    }

    async fn connect(&self) -> Result<http1::SendRequest<Full<Bytes>>, CallError> {
        let failed = |reason: String| CallError::Connect {
            address: self.address(),
            reason,
        };
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.authority));
        let stream = match connecting.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => return Err(failed(format!("nothing within {CONNECT_TIMEOUT:?}"))),
        };
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(error.to_string()))?;
        // Its errors reach whoever waits for the answer; it ends with the sender.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn address(&self) -> String {
        format!("http://{}{}", self.authority, self.base)
    }

    /// `GET /v1/edges`.
    pub async fn edges(&self) -> Result<EdgeList, CallError> {
        self.get("/v1/edges", Duration::ZERO).await
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<StatusAnswer, CallError> {
        self.get("/v1/status", Duration::ZERO).await
    }

    /// `GET /v1/wait`.
    pub async fn wait(&self, revision: i64, wait: Duration) -> Result<WaitAnswer, CallError> {
        let path = format!("/v1/wait?revision={revision}&timeout={}", duration(wait));
        self.get(&path, wait).await
    }

    /// `POST /v1/apps/{app}/instances/{id}/drain`.
    pub async fn drain(
        &self,
        app: &str,
        id: &str,
        wait: Duration,
    ) -> Result<DrainAnswer, CallError> {
        let path = format!(
            "{}/drain?timeout={}",
            instance_path(app, id),
            duration(wait)
        );
        self.call(Method::POST, &path, None, wait).await
    }

    /// `PUT /v1/routes/{host}/pause`: requests to the host wait for `lasting`
    /// at the most, 1 s to 1 h in whole seconds, and no more than `max` of them.
    /// `wait` is how long to wait until that is live on every edge.
    pub async fn pause(
        &self,
        host: &str,
        lasting: Duration,
        max: Option<u64>,
        wait: Option<Duration>,
    ) -> Result<Changed, CallError> {
        let max = max.map_or(String::new(), |max| format!("&max={max}"));
        let path = format!("{}?for={}{max}", pause_path(host), duration(lasting));
        let always = WriteCondition::Always;
        self.write(Method::PUT, &path, None, always, wait).await
    }

    /// `DELETE /v1/routes/{host}/pause`: requests to the host go on at once.
    pub async fn resume(&self, host: &str, wait: Option<Duration>) -> Result<Changed, CallError> {
        let (path, always) = (pause_path(host), WriteCondition::Always);
        self.write(Method::DELETE, &path, None, always, wait).await
    }

    /// `GET /v1/events`.
    pub async fn events(&self, query: &EventsQuery) -> Result<EventList, CallError> {
        let since = query.since.map(|since| format!("since={since}"));
        let limit = query.limit.map(|limit| format!("limit={limit}"));
        let parameters: Vec<_> = since.into_iter().chain(limit).collect();
        let path = format!("/v1/events?{}", parameters.join("&"));
        self.get(&path, Duration::ZERO).await
    }

    /// `GET /v1/events` as a stream that goes on: the changes after revision
    /// `since`, or from now on.
    pub async fn follow_events(&self, since: Option<i64>) -> Result<EventStream, CallError> {
        let since = since.map_or(String::new(), |since| format!("?since={since}"));
        let path = format!("/v1/events{since}");
        let accept = (header::ACCEPT, events::CONTENT_TYPE.to_owned());
        let answer = self.send(Method::GET, &path, None, Some(accept));
        let answer = match timeout(PATIENCE, answer).await {
            Ok(answer) => answer?,
            Err(_) => return Err(self.broken(format!("none within {PATIENCE:?}"))),
        };
        if answer.status().is_success() {
            return Ok(EventStream::new(self.clone(), answer.into_body()));
        }
        let (status, text) = self.read(answer).await?;
        Err(self.refused(status, &text))
    }

    /// `GET /v1/explain`.
    pub async fn explain(&self, query: &ExplainQuery) -> Result<ExplainAnswer, CallError> {
        let mut path = format!("/v1/explain?url={}", segment(&query.url));
        for (name, values) in [
            ("method", query.method.as_slice()),
            ("header", &*query.header),
            ("client", query.client.as_slice()),
        ] {
            for value in values {
                path = format!("{path}&{name}={}", segment(value));
            }
        }
        self.get(&path, Duration::ZERO).await
    }

    /// Any GET that answers at once.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, CallError> {
        self.get(path, Duration::ZERO).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, CallError> {
        self.call(Method::GET, path, None, wait).await
    }
}

/// The path of an instance.
pub fn instance_path(app: &str, id: &str) -> String {
    format!("/v1/apps/{}/instances/{}", segment(app), segment(id))
}

fn pause_path(host: &str) -> String {
    format!("/v1/routes/{}/pause", segment(host))
}

/// A duration as a query has it: `1m30s`.
fn duration(duration: Duration) -> String {
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

/// A name as a segment of a path, or a value of a query.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (address, authority, base) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8081", ""),
            ("http://[::1]:8081/", "[::1]:8081", ""),
            ("http://agent", "agent:80", ""),
            ("http://proxy/pointsman/", "proxy:80", "/pointsman"),
        ] {
            let client = AgentClient::new(address).unwrap();
            assert_eq!((&*client.authority, &*client.base), (authority, base));
        }
        for address in [
            "",
            "127.0.0.1:8081",
            "https://agent:8081",
            "http://user:secret@agent:8081",
            "http://agent:8081/?x=1",
            "http://",
        ] {
            assert!(AgentClient::new(address).is_err(), "{address}");
        }
    }

    #[test]
    fn names_are_encoded() {
        let path = instance_path("shop", "a:1/?é");
        assert_eq!(path, "/v1/apps/shop/instances/a%3A1%2F%3F%C3%A9");
    }

    #[tokio::test]
    async fn what_nobody_answers_is_told() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", free.local_addr().unwrap());
        drop(free);
        let error = AgentClient::new(&address)
            .unwrap()
            .edges()
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no agent answers") && text.contains(&address),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_is_no_json_is_told() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let router = axum::Router::new().fallback(async || "hello");
        tokio::spawn(async move { axum::serve(listener, router).await });
        let error = AgentClient::new(&address)
            .unwrap()
            .edges()
            .await
            .unwrap_err();
        assert!(matches!(error, CallError::Unreadable { .. }), "{error}");
    }
}
