//! The one error of the admin API: an RFC 9457 body with a stable `code`.
//!
//! A handler returns a [`Problem`]; the layer around all handlers gives it
//! the request's id, writes the body, and logs what must not be shown.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pointsman_model::{Bad, BadCode};
use pointsman_store::StoreError;
use serde_json::{Map, Value, json};

/// The content type of an error.
pub const CONTENT_TYPE: &str = "application/problem+json";

macro_rules! codes {
    ($($variant:ident $word:literal $status:literal $title:literal),* $(,)?) => {
        /// What went wrong, as a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $variant),*
        }

        impl Code {
            /// All codes, in the order of their status.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The word, as it stands in the body.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $word),* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> StatusCode {
                let status = match self { $(Code::$variant => $status),* };
                StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
            }

            /// The title: the same sentence for each problem of this code.
            pub fn title(self) -> &'static str {
                match self { $(Code::$variant => $title),* }
            }
        }
    };
}

codes! {
    BadJson "bad_json" 400 "The body is not the JSON that it should be",
    UnknownField "unknown_field" 400 "The body has a field that does not exist",
    MissingField "missing_field" 400 "The body lacks a field",
    BadValue "bad_value" 400 "A field has a wrong type or is out of range",
    BadAddr "bad_addr" 400 "The address is not ip:port",
    BadWeight "bad_weight" 400 "The weight is not a whole number from 0 to 65535",
    BadTtl "bad_ttl" 400 "The ttl is not a duration from 2s to 24h",
    BadHost "bad_host" 400 "The host cannot be bound",
    BadApp "bad_app" 400 "The name of the app is not one",
    BadId "bad_id" 400 "The instance id is not one",
    BadQuery "bad_query" 400 "The query has an unknown parameter or a bad value",
    BadPrecondition "bad_precondition" 400 "If-Match or If-None-Match cannot be used like this",
    BadBody "bad_body" 400 "The body broke off",
    NotFound "not_found" 404 "There is no such thing",
    UnknownPath "unknown_path" 404 "The API has no such path",
    MethodNotAllowed "method_not_allowed" 405 "The path does not know this method",
    RequestTimeout "request_timeout" 408 "The body did not come in time",
    PreconditionFailed "precondition_failed" 412 "The thing is not as the request expects it",
    BodyTooLarge "body_too_large" 413 "The body is too large",
    UriTooLong "uri_too_long" 414 "The URI is too long",
    BadContentType "bad_content_type" 415 "The body is not announced as JSON",
    NotAllowed "not_allowed" 422 "The settings do not allow this",
    NotSupported "not_supported" 422 "This is not supported",
    HeadersTooLarge "headers_too_large" 431 "The headers are too large",
    Internal "internal" 500 "The agent failed",
    EtcdDenied "etcd_denied" 503 "etcd refuses the agent",
    EtcdUnavailable "etcd_unavailable" 503 "etcd cannot be reached",
    NotReady "not_ready" 503 "The agent is not ready yet",
}

/// What a handler answers when it cannot do what was asked.
#[derive(Debug)]
pub struct Problem {
    code: Code,
    detail: String,
    field: Option<Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    source: Option<StoreError>,
}

impl Problem {
    /// A problem with its sentence for people.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            field: None,
            headers: Vec::new(),
            source: None,
        }
    }

    /// Names the field that it is about.
    pub fn field(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.field = Some(name.into());
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

    /// What happened underneath, for the log.
    pub fn source(&self) -> Option<&StoreError> {
        self.source.as_ref()
    }

    /// The complete answer.
    pub fn render(&self, request_id: &str) -> Response {
        let status = self.code.status();
        let mut body = Map::new();
        body.insert(
            "type".to_owned(),
            format!("urn:pointsman:problem:{}", self.code.as_str()).into(),
        );
        body.insert("title".to_owned(), self.code.title().into());
        body.insert("status".to_owned(), status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.as_str().into());
        body.insert("code".to_owned(), self.code.as_str().into());
        if let Some(field) = &self.field {
            body.insert("field".to_owned(), json!(field));
        }
        body.insert("request_id".to_owned(), request_id.into());
        let content_type = (header::CONTENT_TYPE, CONTENT_TYPE);
        let body = format!("{}\n", Value::Object(body));
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
        let mut response = self.code.status().into_response();
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
