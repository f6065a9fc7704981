//! Errors: an RFC 9457 body with a stable `code`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::LackingItem;

macro_rules! codes {
    ($($variant:ident $word:literal $status:literal $title:literal),* $(,)?) => {
        /// What went wrong, as a stable word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] #[serde(rename = $word)] $variant),*
        }

        impl Code {
            /// All codes, in the order of their status.
            pub const ALL: &[Code] = &[$(Code::$variant),*];

            /// The word, as it stands in the body.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $word),* }
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> u16 {
                match self { $(Code::$variant => $status),* }
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
    BadEdge "bad_edge" 400 "The name of the edge is not one",
    BadQuery "bad_query" 400 "The query has an unknown parameter or a bad value",
    BadPrecondition "bad_precondition" 400 "If-Match or If-None-Match cannot be used like this",
    BadBody "bad_body" 400 "The body broke off",
    NotFound "not_found" 404 "There is no such thing",
    UnknownPath "unknown_path" 404 "The API has no such path",
    MethodNotAllowed "method_not_allowed" 405 "The path does not know this method",
    RequestTimeout "request_timeout" 408 "The body did not come in time",
    NotRouted "not_routed" 409 "The instance gets no requests",
    EdgeReports "edge_reports" 409 "The edge reports",
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
    NotLive "not_live" 504 "Not every edge has applied the revision in time",
    NotDrained "not_drained" 504 "The instance is not drained in time, and stays draining",
}

/// An error. The body is `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// `urn:pointsman:problem:` and the code.
    pub r#type: String,
    /// What the code means.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong here, for people; may change.
    pub detail: String,
    /// The stable word, for programs.
    pub code: Code,
    /// The field of the body, or the part of the path, that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub field: Option<String>,
    /// The revision that was waited for: what was written is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub revision: Option<i64>,
    /// What edges lacked at the end of a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub lacking: Option<Vec<LackingItem>>,
    /// The request's id, which the agent's log has too.
    pub request_id: String,
}
