//! What the agent counts: the metrics of all its parts.

use std::sync::Arc;

use pointsman_api::metrics::Metrics;
use pointsman_probe::ProbeMetrics;
use pointsman_publish::PublishMetrics;

/// What the parts count.
pub(crate) struct Counters {
    pub(crate) publish: Arc<PublishMetrics>,
    pub(crate) probe: ProbeMetrics,
    /// What the API counts, and what shows all of it.
    pub(crate) shown: Arc<Metrics>,
}

impl Counters {
    pub(crate) fn new() -> Self {
        let (shown, (publish, probe)) = Metrics::new(|registry| {
            let publish = PublishMetrics::register(registry);
            (publish, ProbeMetrics::register(registry))
        });
        Self {
            publish: Arc::new(publish),
            probe,
            shown: Arc::new(shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pointsman_api::metrics::Readings;
    use pointsman_publish::Observe as _;

    use super::*;

    #[test]
    fn everything_counted_is_rendered_under_our_prefix() {
        let metrics = Counters::new();
        metrics.publish.events(3);
        metrics
            .publish
            .batch("applied", 2, Duration::from_millis(1));
        metrics.publish.applied(Duration::from_millis(1));
        metrics.publish.rebuilt(5, Duration::from_secs(1));
        metrics.publish.repaired(4);
        let took = Duration::from_millis(2);
        metrics
            .shown
            .api
            .count("PUT", "/v1/routes/{host}", 412, took);
        metrics.probe.began(took);
        metrics.probe.ended("timeout", took);
        metrics.probe.late(6);
        metrics.probe.held_back();
        metrics.probe.set(9, 1, 7);
        let reading = Readings {
            ready: true,
            seen: 12,
            applied: 10,
            bad: 2,
            edges: vec![("web-1".to_owned(), "missing")],
            ..Readings::default()
        };
        let text = metrics.shown.render(&reading).unwrap();
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
            "pointsman_agent_edges{edge=\"web-1\",state=\"missing\"} 1",
            "pointsman_agent_probes_total{result=\"timeout\"} 1",
            "pointsman_agent_probe_seconds_count 1",
            "pointsman_agent_probe_delay_seconds_count 1",
            "pointsman_agent_probes_late_total 6",
            "pointsman_agent_probe_doubts_total 1",
            "pointsman_agent_probed_instances 9",
            "pointsman_agent_pending_instances 1",
            "pointsman_agent_unhealthy_instances 7",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nnot in\n{text}");
        }
        let foreign = text
            .lines()
            .find(|l| !l.starts_with("pointsman_agent_") && !l.starts_with('#'));
        assert_eq!(foreign, None);
        let text = metrics.shown.render(&Readings::default()).unwrap();
        assert!(!text.contains("web-1"), "an edge that was forgotten stays");
    }

    #[test]
    fn every_metric_is_documented() {
        let text = Counters::new().shown.render(&Readings::default()).unwrap();
        let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
        let docs = std::fs::read_to_string(docs).unwrap();
        let names = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE pointsman_agent_"));
        for name in names.map(|line| line.split(' ').next().unwrap()) {
            assert!(
                docs.contains(&format!("`{name}")),
                "{name} is not in docs/api.md"
            );
        }
    }
}
