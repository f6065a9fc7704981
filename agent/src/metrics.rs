//! The agent's metrics, `pointsman_agent_…`, in the OpenMetrics text format.
//!
//! Counters and histograms are handed out and moved where things happen;
//! gauges are read off the status and the table when somebody asks.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::store::Revision;
use crate::sync::Observe;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sync: SyncMetrics,
    /// What the admin API counts.
    pub api: ApiMetrics,
    /// What the prober counts.
    pub probe: ProbeMetrics,
    gauges: Gauges,
}

#[derive(Debug)]
struct SyncMetrics {
    events: Counter,
    batches: Family<OutcomeLabels, Counter>,
    records: Counter,
    apply: Histogram,
    propagation: Histogram,
    listings: Counter,
    rebuilds: Counter,
    rebuild: Histogram,
    repairs: Counter,
}

/// What the admin API counts. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
}

/// What the prober counts. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct ProbeMetrics {
    probes: Family<ResultLabels, Counter>,
    seconds: Histogram,
    delay: Histogram,
    late: Counter,
    held_back: Counter,
    probed: Gauge,
    unhealthy: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
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

/// What the gauges show; read off the status and the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
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
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("pointsman_agent");
        let version = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "The agent's version", Info::new(version));
        Self {
            sync: SyncMetrics::register(&mut registry),
            api: ApiMetrics::register(&mut registry),
            probe: ProbeMetrics::register(&mut registry),
            gauges: Gauges::register(&mut registry),
            registry,
        }
    }

    /// The text of all metrics.
    pub fn render(&self, reading: &Reading) -> Result<String, std::fmt::Error> {
        self.gauges.set(reading);
        let mut out = String::new();
        text::encode(&mut out, &self.registry)?;
        Ok(out)
    }
}

impl Observe for Metrics {
    fn events(&self, count: usize) {
        self.sync.events.inc_by(count as u64);
    }

    fn batch(&self, outcome: &'static str, changes: usize, took: Duration) {
        self.sync
            .batches
            .get_or_create(&OutcomeLabels { outcome })
            .inc();
        self.sync.records.inc_by(changes as u64);
        self.sync.apply.observe(took.as_secs_f64());
    }

    fn applied(&self, after: Duration) {
        self.sync.propagation.observe(after.as_secs_f64());
    }

    fn rebuilt(&self, records: usize, took: Duration) {
        self.sync.rebuilds.inc();
        self.sync.records.inc_by(records as u64);
        self.sync.rebuild.observe(took.as_secs_f64());
    }

    fn repaired(&self, elements: usize) {
        self.sync.repairs.inc_by(elements as u64);
    }

    fn listed(&self) {
        self.sync.listings.inc();
    }
}

impl SyncMetrics {
    fn register(registry: &mut Registry) -> Self {
        let all = Self {
            events: Counter::default(),
            batches: Family::default(),
            records: Counter::default(),
            apply: fast(),
            propagation: fast(),
            listings: Counter::default(),
            rebuilds: Counter::default(),
            rebuild: fast(),
            repairs: Counter::default(),
        };
        for (name, help, counter) in [
            ("etcd_events", "Events that came from etcd", &all.events),
            ("records", "Records that were sent to Redis", &all.records),
            ("listings", "Complete listings of etcd", &all.listings),
            (
                "rebuilds",
                "Rebuilds of Redis that this agent finished",
                &all.rebuilds,
            ),
            (
                "repairs",
                "Elements that differed at rest and were put right",
                &all.repairs,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        registry.register(
            "batches",
            "Batches that Redis answered",
            all.batches.clone(),
        );
        for (name, help, histogram) in [
            ("apply", "How long Redis took for a batch", &all.apply),
            (
                "propagation",
                "From an event's arrival to its record in Redis",
                &all.propagation,
            ),
            ("rebuild", "How long rebuilds of Redis took", &all.rebuild),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        all
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

impl ProbeMetrics {
    fn register(registry: &mut Registry) -> Self {
        let all = Self {
            probes: Family::default(),
            seconds: fast(),
            delay: fast(),
            late: Counter::default(),
            held_back: Counter::default(),
            probed: Gauge::default(),
            unhealthy: Gauge::default(),
        };
        let probes = all.probes.clone();
        registry.register("probes", "Probes of instances", probes);
        for (name, help, histogram) in [
            ("probe", "How long probes took", &all.seconds),
            (
                "probe_delay",
                "How much later than due probes began",
                &all.delay,
            ),
        ] {
            registry.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        for (name, help, counter) in [
            (
                "probes_late",
                "Probes left out, since their turn had passed",
                &all.late,
            ),
            (
                "probe_doubts",
                "Times that an instance was not marked, since no instance at all answered",
                &all.held_back,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        for (name, help, gauge) in [
            (
                "probed_instances",
                "Instances that this agent probes",
                &all.probed,
            ),
            (
                "unhealthy_instances",
                "Those of them that are marked unhealthy",
                &all.unhealthy,
            ),
        ] {
            registry.register(name, help, gauge.clone());
        }
        all
    }

    /// A probe began, so long after it was due.
    pub fn began(&self, delay: Duration) {
        self.delay.observe(delay.as_secs_f64());
    }

    /// A probe ended with this word, after this time.
    pub fn ended(&self, result: &'static str, took: Duration) {
        self.probes.get_or_create(&ResultLabels { result }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// So many probes were left out, since their turn had passed.
    pub fn late(&self, probes: u64) {
        self.late.inc_by(probes);
    }

    /// An instance was not marked unhealthy, as the agent doubts itself.
    pub fn held_back(&self) {
        self.held_back.inc();
    }

    /// How many instances are probed, and how many of them are unhealthy.
    pub fn set(&self, probed: usize, unhealthy: usize) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.probed.set(number(probed));
        self.unhealthy.set(number(unhealthy));
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
        all
    }

    fn set(&self, reading: &Reading) {
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
    }
}

/// From a quarter of a millisecond, doubling, to about four seconds.
fn fast() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(
        0.000_25, 2.0, 15,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counted_is_rendered_under_our_prefix() {
        let metrics = Metrics::new();
        metrics.events(3);
        metrics.batch("applied", 2, Duration::from_millis(1));
        metrics.applied(Duration::from_millis(1));
        metrics.rebuilt(5, Duration::from_secs(1));
        metrics.repaired(4);
        let took = Duration::from_millis(2);
        metrics.api.count("PUT", "/v1/routes/{host}", 412, took);
        metrics.probe.began(took);
        metrics.probe.ended("timeout", took);
        metrics.probe.late(6);
        metrics.probe.held_back();
        metrics.probe.set(9, 8);
        let reading = Reading {
            ready: true,
            seen: 12,
            applied: 10,
            bad: 2,
            ..Reading::default()
        };
        let text = metrics.render(&reading).unwrap();
        for line in [
            "pointsman_agent_etcd_events_total 3",
            "pointsman_agent_batches_total{outcome=\"applied\"} 1",
            "pointsman_agent_propagation_seconds_count 1",
            "pointsman_agent_api_requests_total{method=\"PUT\",route=\"/v1/routes/{host}\",status=\"412\"} 1",
            "pointsman_agent_ready 1",
            "pointsman_agent_revision_seen 12",
            "pointsman_agent_lag_revisions 2",
            "pointsman_agent_records_total 7",
            "pointsman_agent_rebuilds_total 1",
            "pointsman_agent_repairs_total 4",
            "pointsman_agent_bad_records 2",
            "pointsman_agent_probes_total{result=\"timeout\"} 1",
            "pointsman_agent_probe_seconds_count 1",
            "pointsman_agent_probe_delay_seconds_count 1",
            "pointsman_agent_probes_late_total 6",
            "pointsman_agent_probe_doubts_total 1",
            "pointsman_agent_probed_instances 9",
            "pointsman_agent_unhealthy_instances 8",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
        let foreign = text
            .lines()
            .find(|l| !l.starts_with("pointsman_agent_") && !l.starts_with('#'));
        assert_eq!(foreign, None);
    }
}
