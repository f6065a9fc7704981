//! Around every handler: request id, span, limits on the head, panics,
//! the body of a problem, and the count of requests.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, FromRequestParts as _, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use pointsman_model::Chain;
use pointsman_wire::WriteQuery;
use tracing::Instrument as _;

use super::ApiState;
use super::caller::Caller;
use super::edges::{MadeAt, patience};
use super::extract::Params;
use super::problem::{Code, Problem};
use super::writing::Writing;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const LONGEST_URI: usize = 8 << 10;
const LARGEST_HEAD: usize = 32 << 10;

/// What the layer knows of the calls.
pub(super) struct Around {
    pub(super) state: Arc<ApiState>,
    /// The calls that take no query.
    pub(super) without_query: Vec<(Method, &'static str)>,
    /// The writes: they take [`WriteQuery`].
    pub(super) writes: Vec<(Method, &'static str)>,
}

pub(super) async fn around(
    State(around): State<Arc<Around>>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let method = request.method().clone();
    let route = matched.as_ref().map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        id,
        method = method.as_str(),
        path = request.uri().path()
    );
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let caller = Caller {
        address: peer.map(|ConnectInfo(address)| *address),
        request: id.clone(),
    };
    let served = async {
        let mut response = match around.refuse(&request, route) {
            Some(problem) => problem.into_response(),
            // The handlers share nothing that a panic could leave half done:
            // they read the table and call the store.
            None => AssertUnwindSafe(around.run(request, route, next))
                .catch_unwind()
                .await
                .unwrap_or_else(|_| {
                    let detail = "see the agent's log under this request id";
                    Problem::new(Code::Internal, detail).into_response()
                }),
        };
        if let Some(problem) = Problem::take(&mut response) {
            log(&problem);
            let mut rendered = problem.render(&id);
            // A 405 carries `Allow` already.
            for (name, value) in response.headers() {
                if !rendered.headers().contains_key(name) && name == axum::http::header::ALLOW {
                    rendered.headers_mut().insert(name, value.clone());
                }
            }
            response = rendered;
        }
        if let Ok(value) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        around
            .state
            .metrics
            .api
            .count(method_label(&method), route, status, took);
        tracing::debug!(status, ?took, "answered");
        response
    };
    caller.serve(served).instrument(span).await
}

impl Around {
    /// Runs the handler; after a write, waits for the edges if the query says
    /// so.
    async fn run(&self, request: Request, route: &str, next: Next) -> Response {
        let call = (request.method().clone(), route);
        if !self.writes.contains(&call) {
            return next.run(request).await;
        }
        let has_query = request.uri().query().is_some_and(|q| !q.is_empty());
        if !has_query {
            return Writing::default().serve(next.run(request)).await;
        }
        match self.run_and_wait(request, next).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        }
    }

    async fn run_and_wait(&self, request: Request, next: Next) -> Result<Response, Problem> {
        let (mut parts, body) = request.into_parts();
        let Params(query) = Params::<WriteQuery>::from_request_parts(&mut parts, &()).await?;
        let patience = patience("wait", query.wait.as_deref(), Duration::ZERO)?;
        let writing = Writing::new(query.dry_run, query.force);
        let request = Request::from_parts(parts, body);
        let response = writing.serve(next.run(request)).await;
        if query.wait.is_some()
            && let Some(MadeAt(revision)) = response.extensions().get()
        {
            self.state.live_everywhere(*revision, patience).await?;
        }
        Ok(response)
    }

    fn refuse(&self, request: &Request, route: &str) -> Option<Problem> {
        let uri = request.uri();
        if let Err(problem) = self.state.hosts.check(uri, request.headers()) {
            return Some(problem);
        }
        let length = uri.path_and_query().map_or(0, |p| p.as_str().len());
        if length > LONGEST_URI {
            let detail = format!("path and query may have {LONGEST_URI} bytes");
            return Some(Problem::new(Code::UriTooLong, detail));
        }
        let headers = request.headers().iter();
        if headers
            .map(|(n, v)| n.as_str().len() + v.len())
            .sum::<usize>()
            > LARGEST_HEAD
        {
            let detail = format!("all headers together may have {LARGEST_HEAD} bytes");
            return Some(Problem::new(Code::HeadersTooLarge, detail));
        }
        // HEAD is what GET is.
        let method = match request.method() {
            &Method::HEAD => Method::GET,
            method => method.clone(),
        };
        let call = (method, route);
        // A method that is no call gets its 405.
        if self.without_query.contains(&call) && uri.query().is_some_and(|q| !q.is_empty()) {
            return Some(Problem::new(Code::BadQuery, "this call takes no query"));
        }
        None
    }
}

fn log(problem: &Problem) {
    let code = problem.code();
    match (code, problem.source()) {
        (Code::Internal, Some(source)) => {
            tracing::error!(error = %Chain(source), "a request failed");
        }
        (_, Some(source)) => {
            tracing::warn!(code = code.as_str(), error = %Chain(source), "a request failed");
        }
        (_, None) => tracing::debug!(code = code.as_str(), "a request was refused"),
    }
}

/// The client's id if it is harmless in a log, else one of ours.
fn request_id(headers: &HeaderMap) -> String {
    let ok = |id: &&str| {
        (1..=128).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
    };
    let given = headers.get(REQUEST_ID).and_then(|v| v.to_str().ok());
    given
        .filter(ok)
        .map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// The label must not grow with what clients make up.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "POST" => "POST",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
