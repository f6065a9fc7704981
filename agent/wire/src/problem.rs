//! Errors: an RFC 9457 body with a stable `code`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::LackingItem;

// A `literal` would reach utoipa in a group, which it does not look into.
macro_rules! codes {
    ($($variant:ident $word:tt $status:literal $title:literal),* $(,)?) => {
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
    BadJson "bad_json" 400 "Malformed JSON body",
    UnknownField "unknown_field" 400 "Unknown field",
    MissingField "missing_field" 400 "Missing field",
    BadValue "bad_value" 400 "Invalid field value",
    BadAddr "bad_addr" 400 "Invalid address",
    BadWeight "bad_weight" 400 "Invalid weight",
    BadTtl "bad_ttl" 400 "Invalid ttl",
    BadHost "bad_host" 400 "Invalid host",
    BadApp "bad_app" 400 "Invalid app name",
    BadId "bad_id" 400 "Invalid instance id",
    BadEdge "bad_edge" 400 "Invalid edge name",
    BadSet "bad_set" 400 "Invalid set name",
    BadQuery "bad_query" 400 "Invalid query",
    BadPrecondition "bad_precondition" 400 "Invalid precondition",
    BadBody "bad_body" 400 "Incomplete body",
    BadHostHeader "bad_host_header" 400 "Invalid Host header",
    ForeignOrigin "foreign_origin" 403 "Request of another origin",
    NotFound "not_found" 404 "Not found",
    UnknownPath "unknown_path" 404 "Unknown path",
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed",
    RequestTimeout "request_timeout" 408 "Request timeout",
    NotRouted "not_routed" 409 "Instance not routed to",
    AddressTaken "address_taken" 409 "Address taken",
    NeedsForce "needs_force" 409 "Needs force",
    EdgeReports "edge_reports" 409 "Edge still reports",
    PreconditionFailed "precondition_failed" 412 "Precondition failed",
    BodyTooLarge "body_too_large" 413 "Body too large",
    UriTooLong "uri_too_long" 414 "URI too long",
    BadContentType "bad_content_type" 415 "Unsupported content type",
    ForeignHost "foreign_host" 421 "Not a name of this API",
    NotAllowed "not_allowed" 422 "Not allowed by the settings",
    NotSupported "not_supported" 422 "Not supported",
    HeadersTooLarge "headers_too_large" 431 "Headers too large",
    Internal "internal" 500 "Internal error",
    EtcdDenied "etcd_denied" 503 "etcd refused the agent",
    EtcdUnavailable "etcd_unavailable" 503 "etcd unavailable",
    NotReady "not_ready" 503 "Agent not ready",
    NotLive "not_live" 504 "Not live on every edge in time",
    NotDrained "not_drained" 504 "Not drained in time",
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
