//! The one error of the admin API: an RFC 9457 body with a stable `code`.
//!
//! A handler returns a [`Problem`]; the layer around all handlers gives it
//! the request's id, writes the body, and logs what must not be shown.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pointsman_model::{Bad, BadCode};
use pointsman_store::{Revision, StoreError};
pub use pointsman_wire::Code;
use pointsman_wire::{LackingItem, ProblemBody};
use serde_json::json;

/// The content type of an error.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// What a handler answers when it cannot do what was asked.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    field: Option<Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    lacking: Option<Box<Waited>>,
    /// For the log only.
    source: Option<StoreError>,
}

/// How a wait ended.
#[derive(Debug)]
struct Waited {
    revision: Revision,
    items: Vec<LackingItem>,
}

impl Problem {
    /// A problem with its sentence for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            headers: Vec::new(),
            lacking: None,
            source: None,
        }
    }

    /// Names the field that it is about.
    pub fn field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(name.into());
        self
    }

    /// Adds what edges lacked when a wait for `revision` was at its end.
    pub fn lacking(mut self, revision: Revision, items: Vec<LackingItem>) -> Self {
        self.lacking = Some(Box::new(Waited { revision, items }));
        self
    }

    /// Adds a header to the answer.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.code
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// What happened underneath, for the log.
    pub fn source(&self) -> Option<&StoreError> {
        self.source.as_ref()
    }

    /// The complete answer.
    pub fn render(&self, request_id: &str) -> Response {
        let status = self.status();
        let body = ProblemBody {
            r#type: format!("urn:pointsman:problem:{}", self.code.as_str()),
            title: self.code.title().to_owned(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            code: self.code,
            field: self.field.as_ref().map(ToString::to_string),
            revision: self.lacking.as_ref().map(|waited| waited.revision),
            lacking: self.lacking.as_ref().map(|waited| waited.items.clone()),
            request_id: request_id.to_owned(),
        };
        let content_type = (header::CONTENT_TYPE, CONTENT_TYPE);
        let body = format!("{}\n", json!(body));
        let mut response = (status, [content_type], body).into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let soon = HeaderValue::from_static("1");
            response.headers_mut().insert(header::RETRY_AFTER, soon);
        }
        response
    }

    /// Takes out what [`Problem::into_response`] put in.
    pub(super) fn take(response: &mut Response) -> Option<Arc<Problem>> {
        response.extensions_mut().remove::<Arc<Problem>>()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<Bad> for Problem {
    fn from(bad: Bad) -> Self {
        // What names no field of the body is about a part of the path.
        let (code, part) = match bad.code {
            BadCode::BadJson => (Code::BadJson, None),
            BadCode::UnknownField => (Code::UnknownField, None),
            BadCode::MissingField => (Code::MissingField, None),
            BadCode::BadAddr => (Code::BadAddr, None),
            BadCode::NotAllowed => (Code::NotAllowed, None),
            BadCode::BadWeight => (Code::BadWeight, None),
            BadCode::BadHost => (Code::BadHost, Some("host")),
            BadCode::BadApp => (Code::BadApp, Some("app")),
            BadCode::BadId => (Code::BadId, Some("id")),
            BadCode::BadEdge => (Code::BadEdge, Some("edge")),
            BadCode::BadSet => (Code::BadSet, Some("set")),
            BadCode::NotSupported => (Code::NotSupported, None),
            _ => (Code::BadValue, None),
        };
        let named = bad.field.map(|name| Cow::Owned(name.into_string()));
        Self {
            field: named.or(part.map(Cow::Borrowed)),
            ..Self::new(code, bad.detail)
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (code, detail) = match &error {
            StoreError::Unavailable(_) => (
                Code::EtcdUnavailable,
                "etcd cannot be reached or does not answer in time; whether a write was made \
                 is not known: repeat it",
            ),
            StoreError::Denied(_) => (
                Code::EtcdDenied,
                "etcd refuses the agent's credentials, or they lack a permission",
            ),
            StoreError::TooLarge(_) => (Code::BodyTooLarge, "the value is larger than etcd takes"),
            _ => (Code::Internal, "see the agent's log under this request id"),
        };
        Self {
            source: Some(error),
            ..Self::new(code, detail)
        }
    }
}
