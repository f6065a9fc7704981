//! What the publisher counts.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::Observe;

/// What the publisher counts.
#[derive(Debug)]
pub struct PublishMetrics {
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

impl PublishMetrics {
    /// All at zero, and shown by `registry`.
    pub fn register(registry: &mut Registry) -> Self {
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

impl Observe for PublishMetrics {
    fn events(&self, count: usize) {
        self.events.inc_by(count as u64);
    }

    fn batch(&self, outcome: &'static str, changes: usize, took: Duration) {
        self.batches.get_or_create(&OutcomeLabels { outcome }).inc();
        self.records.inc_by(changes as u64);
        self.apply.observe(took.as_secs_f64());
    }

    fn applied(&self, after: Duration) {
        self.propagation.observe(after.as_secs_f64());
    }

    fn rebuilt(&self, records: usize, took: Duration) {
        self.rebuilds.inc();
        self.records.inc_by(records as u64);
        self.rebuild.observe(took.as_secs_f64());
    }

    fn repaired(&self, elements: usize) {
        self.repairs.inc_by(elements as u64);
    }

    fn listed(&self) {
        self.listings.inc();
    }
}

/// From a quarter of a millisecond, doubling, to about four seconds.
fn fast() -> Histogram {
    Histogram::new(prometheus_client::metrics::histogram::exponential_buckets(
        0.000_25, 2.0, 15,
    ))
}
