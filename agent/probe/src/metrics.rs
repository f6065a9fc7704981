//! What the prober counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// What the prober counts. Clones share their numbers.
#[derive(Clone, Debug)]
pub struct ProbeMetrics {
    probes: Family<ResultLabels, Counter>,
    seconds: Histogram,
    delay: Histogram,
    late: Counter,
    held_back: Counter,
    probed: Gauge,
    pending: Gauge,
    unhealthy: Gauge,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

impl ProbeMetrics {
    /// All at zero, and shown by `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self {
            probes: Family::default(),
            seconds: fast(),
            delay: fast(),
            late: Counter::default(),
            held_back: Counter::default(),
            probed: Gauge::default(),
            pending: Gauge::default(),
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
                "pending_instances",
                "Those of them that wait for their first good probe",
                &all.pending,
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

    /// A probe ended with this label, after this time.
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

    /// How many instances are probed, and how many of them are pending, and
    /// unhealthy.
    pub fn set(&self, probed: usize, pending: usize, unhealthy: usize) {
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.probed.set(number(probed));
        self.pending.set(number(pending));
        self.unhealthy.set(number(unhealthy));
    }
}

/// From a quarter of a millisecond, doubling, to about four seconds.
fn fast() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(
        0.000_25, 2.0, 15,
    ))
}
