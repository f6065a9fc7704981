//! The policy of an app. A field that is not there is the registry's default,
//! or otherwise the edge's. Durations are like `10s` or `1500ms`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an app asks of the edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyBody {
    /// How an instance is picked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceWord>,
    /// With `hash`: what is hashed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_by: Option<crate::HashByBody>,
    /// How many more instances are tried, 0 to 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 16)]
    pub retries: Option<u32>,
    /// Whether a 502, 503 or 504 is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_5xx: Option<bool>,
    /// Whether requests with an `Idempotency-Key` count as idempotent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_idempotency_key: Option<bool>,
    /// Retries in percent of requests, 0 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 1000)]
    pub retry_budget: Option<u32>,
    /// The time for all tries together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// The time to connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<String>,
    /// The time between two writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send_timeout: Option<String>,
    /// The time between two reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_timeout: Option<String>,
    /// How long an upgraded connection may be silent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<String>,
    /// How many failures within `fail_timeout` eject an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub max_fails: Option<u32>,
    /// Within what, and for how long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_timeout: Option<String>,
    /// What is a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fail_on: Option<Vec<FailureWord>>,
    /// How long a new instance takes to get its whole share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<String>,
    /// Whether instances of the edge's own zone come first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefer_zone: Option<bool>,
    /// Requests in flight for each instance, 1 to 65535.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub max_conns: Option<u32>,
    /// A client stays with its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickyBody>,
    /// The header by which a request may name its instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[A-Za-z0-9-]{1,128}$")]
    pub pin_header: Option<String>,
    /// What instances speak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<SchemeWord>,
    /// With `https`: the name that is asked for and verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whether responses are buffered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffering: Option<bool>,
    /// How agents probe the instances.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheckBody>,
    /// What starts the app when it has no instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake: Option<WakeBody>,
}

// A `literal` would reach utoipa in a group, which it does not look into.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident $word:tt),* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
        pub enum $name {
            $(#[doc = concat!("`", $word, "`")] #[serde(rename = $word)] $variant),*
        }
    };
}

words! {
    /// How an instance is picked.
    BalanceWord {
        RoundRobin "round_robin", LeastConn "least_conn", Ewma "ewma", Random "random", Hash "hash"
    }
}
words! {
    /// What is a failure of an instance.
    FailureWord { Connect "connect", Timeout "timeout", ServerError "5xx" }
}
words! {
    /// What instances speak.
    SchemeWord { Http "http", Https "https", Grpc "grpc" }
}
words! {
    /// What becomes of sticky clients of a draining instance.
    DrainWord { Keep "keep" }
}
words! {
    /// Which requests from other sites have the cookie.
    SameSiteWord { Lax "lax", Strict "strict", None "none" }
}
words! {
    /// How an instance is probed.
    CheckType { Http "http", Tcp "tcp", Grpc "grpc" }
}
words! {
    /// What a new instance is until its first good probe.
    InitialWord { Pending "pending", Healthy "healthy" }
}

/// Sessions that stay with an instance, by a cookie.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StickyBody {
    /// The cookie's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// How long it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Only once the app sets this cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub with: Option<String>,
    /// Whether a draining instance keeps its clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<DrainWord>,
    /// With which requests from other sites a browser sends the cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_site: Option<SameSiteWord>,
    /// For which paths a browser sends the cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How agents probe an app's instances.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckBody {
    /// `http`, the default, `tcp` or `grpc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r#type: Option<CheckType>,
    /// Whether over TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// With `tls`: the name that is asked for and verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The path, perhaps with a query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The `Host` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Good statuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusSet>,
    /// What the response must hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub body: Option<String>,
    /// With `grpc`: the service that is asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 256)]
    pub service: Option<String>,
    /// How often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    /// How long a probe may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Good probes in a row that make an instance healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub rise: Option<u32>,
    /// Bad probes in a row that make it unhealthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10)]
    pub fall: Option<u32>,
    /// What a new instance is until its first good probe, `pending` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<InitialWord>,
}

/// What edges call when a request finds no instance of the app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WakeBody {
    /// An absolute URL, `http` or `https`.
    pub url: String,
    /// How long a request waits for an instance, `1s` to `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// How many requests may wait at each edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_waiting: Option<u32>,
}

/// Statuses: a range like `200-299`, or a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StatusSet {
    /// A range.
    Range(String),
    /// A list.
    List(Vec<u16>),
}
