//! What `docs/monitoring/` ships, under the Prometheus that Debian has: it reads
//! the metrics of a live stack, each query of the dashboard finds data, and alerts
//! fire when what they are about happens.

#![allow(clippy::print_stderr, reason = "a test that is left out says so")]
#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod live;
mod prometheus;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::prometheus::promtool;

/// A file of `docs/monitoring/`.
fn shipped(name: &str) -> PathBuf {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    top.join("docs/monitoring").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(shipped(name)).unwrap()
}

#[tokio::test]
async fn each_alert_fires_in_its_time_and_not_before() {
    if prometheus::is_left_out() {
        return;
    }
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/monitoring/alerts.test.yml");
    promtool(["check", "rules"], &shipped("alerts.yml")).await;
    promtool(["test", "rules"], &units).await;
    // An alert that has no test would not be seen above.
    let units = std::fs::read_to_string(units).unwrap();
    let tested = units
        .lines()
        .filter_map(|line| line.trim().strip_prefix("alertname: "));
    let tested: BTreeSet<_> = tested.collect();
    assert_eq!(tested, alerts(&read("alerts.yml")));
}

#[test]
fn each_alert_leads_to_what_to_do() {
    let page = read("README.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### "));
    let rules = read("alerts.yml");
    let alerts = alerts(&rules);
    assert_eq!(headings.collect::<BTreeSet<_>>(), alerts);
    for alert in alerts {
        let link = format!(
            "runbook_url: docs/monitoring/README.md#{}\n",
            alert.to_lowercase()
        );
        assert!(rules.contains(&link), "{alert} has no {link}");
    }
}

fn alerts(rules: &str) -> BTreeSet<&str> {
    let names = rules.lines();
    let names = names.filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.collect()
}
