//! What the process counts and shows at `/metrics`, in the OpenMetrics text
//! format. Others register what they count; the API shows it.

use std::time::Duration;

use pointsman_model::Revision;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// What the admin API counts.
    pub api: ApiMetrics,
    gauges: Gauges,
}

/// What the admin API counts. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EdgeLabels {
    edge: String,
    state: &'static str,
}

/// What the gauges show; read off the status, the table and the edges' reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Whether the agent is ready.
    pub ready: bool,
    /// Whether etcd answers.
    pub etcd_connected: bool,
    /// Whether Redis answers.
    pub redis_connected: bool,
    /// The last revision seen.
    pub seen: Revision,
    /// The last revision known to be in Redis.
    pub applied: Revision,
    /// Changes that wait to be sent to Redis.
    pub waiting: usize,
    /// Routes in the table.
    pub routes: usize,
    /// Apps in the table.
    pub apps: usize,
    /// Instances in the table.
    pub instances: usize,
    /// Keys with a bad name or value.
    pub bad: usize,
    /// Instances whose address belongs to another one.
    pub shadowed: usize,
    /// The edges by name, each with its state: `live`, `behind` or `missing`.
    /// None while reports cannot be read.
    pub edges: Vec<(String, &'static str)>,
}

#[derive(Debug, Default)]
struct Gauges {
    ready: Gauge,
    etcd_connected: Gauge,
    redis_connected: Gauge,
    seen: Gauge,
    applied: Gauge,
    lag: Gauge,
    waiting: Gauge,
    routes: Gauge,
    apps: Gauge,
    instances: Gauge,
    bad: Gauge,
    shadowed: Gauge,
    edges: Family<EdgeLabels, Gauge>,
}

impl Metrics {
    /// All metrics, at zero. `register` adds those of others.
    pub fn new<T>(register: impl FnOnce(&mut Registry) -> T) -> (Self, T) {
        let mut registry = Registry::with_prefix("pointsman_agent");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The agent's version", Info::new(version));
        let others = register(&mut registry);
        let metrics = Self {
            api: ApiMetrics::register(&mut registry),
            gauges: Gauges::register(&mut registry),
            registry,
        };
        (metrics, others)
    }

    /// The text of all metrics.
    pub fn render(&self, reading: &Readings) -> Result<String, std::fmt::Error> {
        self.gauges.set(reading);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl ApiMetrics {
    fn register(registry: &mut Registry) -> Self {
        let all = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(fast),
        };
        registry.register(
            "api_requests",
            "Requests to the admin API",
            all.requests.clone(),
        );
        registry.register_with_unit(
            "api_request_duration",
            "How long requests to the admin API took",
            Unit::Seconds,
            all.seconds.clone(),
        );
        all
    }

    /// Counts a request. `route` is the pattern, never the path.
    pub fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        let labels = RequestLabels {
            method,
            route: route.to_owned(),
            status,
        };
        self.requests.get_or_create(&labels).inc();
        let route = route.to_owned();
        self.seconds
            .get_or_create(&RouteLabels { route })
            .observe(took.as_secs_f64());
    }
}

impl Gauges {
    fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        for (name, help, gauge) in [
            ("ready", "1 after the first complete sync", &all.ready),
            (
                "etcd_connected",
                "1 while etcd answers",
                &all.etcd_connected,
            ),
            (
                "redis_connected",
                "1 while Redis answers",
                &all.redis_connected,
            ),
            ("revision_seen", "The last revision seen in etcd", &all.seen),
            (
                "revision_applied",
                "The last revision known to be in Redis",
                &all.applied,
            ),
            (
                "lag_revisions",
                "How far Redis is behind what was seen",
                &all.lag,
            ),
            (
                "waiting_changes",
                "Changes that wait to be sent to Redis",
                &all.waiting,
            ),
            ("routes", "Routes in the table", &all.routes),
            ("apps", "Apps in the table", &all.apps),
            ("instances", "Instances in the table", &all.instances),
            ("bad_records", "Keys with a bad name or value", &all.bad),
            (
                "shadowed_instances",
                "Instances whose address belongs to a younger one",
                &all.shadowed,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        registry.register(
            "edges",
            "1 for each edge, with its state",
            all.edges.clone(),
        );
        all
    }

    fn set(&self, reading: &Readings) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.ready.set(reading.ready.into());
        self.etcd_connected.set(reading.etcd_connected.into());
        self.redis_connected.set(reading.redis_connected.into());
        self.seen.set(reading.seen);
        self.applied.set(reading.applied);
        self.lag.set((reading.seen - reading.applied).max(0));
        self.waiting.set(number(reading.waiting));
        self.routes.set(number(reading.routes));
        self.apps.set(number(reading.apps));
        self.instances.set(number(reading.instances));
        self.bad.set(number(reading.bad));
        self.shadowed.set(number(reading.shadowed));
        // An edge has one state only, and may have been forgotten.
        self.edges.clear();
        for (edge, state) in &reading.edges {
            let edge = edge.clone();
            self.edges.get_or_create(&EdgeLabels { edge, state }).set(1);
        }
    }
}

/// From a quarter of a millisecond, doubling, to about four seconds.
fn fast() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(
        0.000_25, 2.0, 15,
    ))
}
