//! The benchmark at its smallest: that each scenario runs, and that what it
//! writes is whole. No figure is judged.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::process::Command;

use pointsman_bench::report::{Results, Section};
use pointsman_bench::scenario::ALL;

#[test]
fn each_scenario_runs_and_writes_its_section() {
    let out = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--tiny", "--out"])
        .arg(out.path())
        .status()
        .unwrap();
    assert!(status.success(), "{status}");

    let results = Results::read(out.path()).unwrap();
    assert!(results.machine.versions.contains_key("nginx"));
    let page = std::fs::read_to_string(out.path().join("RESULTS.md")).unwrap();
    for scenario in ALL {
        let section = results.sections[scenario.name].clone();
        let section: Section = serde_json::from_value(section).unwrap();
        assert!(page.contains(&format!("\n## {}\n", section.title)));
        check(scenario.name, &section, out.path());
    }
}

fn check(name: &str, section: &Section, out: &Path) {
    assert!(!section.tables.is_empty(), "{name} has no table");
    assert!(!section.raw.is_null(), "{name} has no raw runs");
    assert_eq!(section.size, "tiny");
    for table in &section.tables {
        assert!(table.rows.len() > 1, "{name}: {} is empty", table.title);
        for row in &table.rows {
            assert_eq!(row.len(), table.rows[0].len(), "{name}: {}", table.title);
            let bad = row
                .iter()
                .find(|cell| cell.contains("NaN") || cell.contains("inf"));
            assert_eq!(bad, None, "{name}: {}", table.title);
        }
    }
    for chart in &section.charts {
        for line in &chart.lines {
            assert_eq!(
                line.points.len(),
                chart.places.len(),
                "{name}: {}",
                chart.file
            );
        }
        let path = out.join(format!("charts/{}.svg", chart.file));
        let svg = std::fs::read_to_string(path).unwrap();
        assert!(svg.contains("<rect"), "{name}: {} has no bar", chart.file);
    }
}
