//! What handlers take out of a request; each failure is a [`Problem`].

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body_util::BodyExt as _;
use pointsman_model::{AppName, EdgeName, Host, InstanceId, SetName, json_object};
use pointsman_store::{Condition, Revision};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

use super::ApiState;
use super::problem::{Code, Problem};

/// How long a client may take to send a body.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How much is said of a query that cannot be read, in characters.
const LONGEST_REASON: usize = 200;
/// The same, while the agent stops.
const BODY_AT_STOP: Duration = Duration::from_secs(1);
/// A client that still sends would lose the answer with the connection: so much
/// of a body that is refused is read, for so long.
const MOST_DISCARDED: usize = 8 << 20;
const LINGER: Duration = Duration::from_secs(1);

/// The host in the path, folded to its canonical form.
pub(super) struct HostParam(pub(super) Host);

/// The app in the path.
pub(super) struct AppParam(pub(super) AppName);

/// The edge in the path.
pub(super) struct EdgeParam(pub(super) EdgeName);

/// The set in the path.
pub(super) struct SetParam(pub(super) SetName);

/// App and instance in the path.
pub(super) struct InstanceParam(pub(super) AppName, pub(super) InstanceId);

impl<S: Send + Sync> FromRequestParts<S> for HostParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: String = path(parts, state, Code::BadHost, "host").await?;
        // What others wrote to etcd can be read and deleted, also if no PUT
        // would take it.
        match Host::from_key(&text) {
            Ok(host) if parts.method != Method::PUT => Ok(Self(host)),
            _ => Ok(Self(Host::from_user(&text)?)),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AppParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: String = path(parts, state, Code::BadApp, "app").await?;
        Ok(Self(AppName::new(&text)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for EdgeParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: String = path(parts, state, Code::BadEdge, "edge").await?;
        Ok(Self(EdgeName::new(&text)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SetParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text: String = path(parts, state, Code::BadSet, "set").await?;
        Ok(Self(SetName::new(&text)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for InstanceParam {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let (app, id): (String, String) = path(parts, state, Code::BadId, "id").await?;
        Ok(Self(AppName::new(&app)?, InstanceId::new(&id)?))
    }
}

async fn path<T, S>(
    parts: &mut Parts,
    state: &S,
    code: Code,
    field: &'static str,
) -> Result<T, Problem>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    let Path(found) = Path::from_request_parts(parts, state).await.map_err(|_| {
        let detail = "the path is not UTF-8 once it is percent-decoded";
        Problem::new(code, detail).field(field)
    })?;
    Ok(found)
}

/// A body that is announced as JSON and within the limit; not parsed yet.
pub(super) struct JsonBody(pub(super) Bytes);

impl FromRequest<Arc<ApiState>> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        check_content_type(request.headers())?;
        read_body(request, state).await.map(Self)
    }
}

/// A body without a field: nothing at all, or `{}`.
pub(super) struct NoFields;

impl FromRequest<Arc<ApiState>> for NoFields {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let announced = check_content_type(request.headers());
        let body = read_body(request, state).await?;
        if body.is_empty() {
            return Ok(Self);
        }
        announced?;
        match json_object("the body", &body)?.keys().next() {
            None => Ok(Self),
            Some(name) => {
                let name: String = name.chars().take(80).collect();
                let detail = format!("this call takes no field {name:?}, and no other");
                Err(Problem::new(Code::UnknownField, detail).field(name))
            }
        }
    }
}

async fn read_body(request: Request, state: &ApiState) -> Result<Bytes, Problem> {
    let limit = state.body_limit;
    let too_large = || {
        let detail = format!("the body may have {limit} bytes (the setting admin.body_limit)");
        Problem::new(Code::BodyTooLarge, detail)
    };
    let announced = request.headers().get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|n| n > limit as u64) {
        // Who waits to be asked for the body reads the answer at once.
        if !request.headers().contains_key(header::EXPECT) {
            timeout(LINGER, discard(request.into_body())).await.ok();
        }
        return Err(too_large());
    }
    let read = axum::body::to_bytes(request.into_body(), limit);
    let late = |detail: String| Err(Problem::new(Code::RequestTimeout, detail));
    let stopped = async {
        state.readiness.stopping().await;
        sleep(BODY_AT_STOP).await;
    };
    tokio::select! {
        read = timeout(BODY_PATIENCE, read) => match read {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(error)) if is_over_limit(&error) => Err(too_large()),
            Ok(Err(_)) => Err(Problem::new(Code::BadBody, "the body could not be read")),
            Err(_) => late(format!("the body must be sent within {BODY_PATIENCE:?}")),
        },
        () = stopped => late("the agent is stopping, and the body is not there yet".to_owned()),
    }
}

async fn discard(mut body: Body) {
    let mut left = MOST_DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        left = left.saturating_sub(length);
        if left == 0 {
            return;
        }
    }
}

fn is_over_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|e| e.is::<http_body_util::LengthLimitError>())
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.map_or("", |v| v.to_str().unwrap_or("?"));
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let given = if essence.is_empty() {
        "nothing"
    } else {
        essence
    };
    let detail = format!("send \"Content-Type: application/json\", not {given}");
    Err(Problem::new(Code::BadContentType, detail))
}

/// The condition that a write names by `If-Match` or `If-None-Match`.
pub(super) struct Precondition(pub(super) Option<Condition>);

impl<S: Send + Sync> FromRequestParts<S> for Precondition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wanted = one_header(&parts.headers, header::IF_MATCH)?;
        let unwanted = one_header(&parts.headers, header::IF_NONE_MATCH)?;
        let bad = |detail: &str| Err(Problem::new(Code::BadPrecondition, detail));
        match (wanted, unwanted) {
            (None, None) => Ok(Self(None)),
            (Some("*"), None) => Ok(Self(Some(Condition::Present))),
            (Some(tag), None) => match revision_of(tag) {
                Some(revision) => Ok(Self(Some(Condition::ModRevision(revision)))),
                None => bad("If-Match takes * or one ETag as this API gave it, like \"12\""),
            },
            (None, Some("*")) => Ok(Self(Some(Condition::Absent))),
            (None, Some(_)) => bad("If-None-Match takes only * with a write"),
            (Some(_), Some(_)) => bad("give either If-Match or If-None-Match"),
        }
    }
}

/// The ETags that a reader has already (`If-None-Match`).
pub(super) struct Cached(Vec<Revision>);

impl Cached {
    pub(super) fn has(&self, revision: Revision) -> bool {
        self.0.contains(&revision)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Cached {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        // Reading again is never wrong: what is not understood is not there.
        let values = parts.headers.get_all(header::IF_NONE_MATCH).iter();
        let tags = values
            .filter_map(|v| v.to_str().ok())
            .flat_map(|v| v.split(','));
        // A reader compares weakly; proxies that compress weaken the tag.
        let tags = tags.map(|tag| tag.trim().trim_start_matches("W/"));
        Ok(Self(tags.filter_map(revision_of).collect()))
    }
}

fn one_header(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next().map(HeaderValue::to_str);
    match (first, values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) => Ok(Some(text.trim())),
        _ => {
            let detail = format!("{name} must be given once, and in ASCII");
            Err(Problem::new(Code::BadPrecondition, detail))
        }
    }
}

/// The ETag of a thing that was last changed at `revision`.
pub(super) fn etag(revision: Revision) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{revision}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

fn revision_of(tag: &str) -> Option<Revision> {
    let digits = tag.strip_prefix('"')?.strip_suffix('"')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && *n > 0)
}

/// A query of known parameters; an unknown or repeated one is a mistake.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(rejection) => {
                let text = rejection.body_text();
                let reason = text
                    .rsplit_once("query string: ")
                    .map_or(&*text, |(_, r)| r);
                // It repeats the name of an unknown parameter.
                let reason: String = reason.chars().take(LONGEST_REASON).collect();
                Err(Problem::new(Code::BadQuery, reason))
            }
        }
    }
}
