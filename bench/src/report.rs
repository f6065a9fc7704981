//! The results: one file of sections, from which tables and charts are made.
//!
//! `results.json` holds everything, with the raw runs. A scenario that is run
//! replaces its own section there, then `RESULTS.md` and the charts are written
//! anew from all that it holds.

mod chart;
mod markdown;

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::{Machine, Moment};

/// A table: its first row is the head.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The head and the rows.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// With a head.
    pub fn new(title: &str, head: &[&str]) -> Self {
        Self {
            title: title.to_owned(),
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    /// One more row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }
}

/// A picture of figures.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Chart {
    /// Its file, without `.svg`.
    pub file: String,
    /// What it shows.
    pub title: String,
    /// What the figures are.
    pub unit: String,
    /// The names of the places along the axis.
    pub places: Vec<String>,
    /// Each with a figure for each place.
    pub lines: Vec<Line>,
}

/// A row of figures of a chart.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Line {
    /// What it is of.
    pub name: String,
    /// Lowest, middle and highest at each place.
    pub points: Vec<[f64; 3]>,
}

/// Something to be reached.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Aim {
    /// What is measured.
    pub what: String,
    /// What it shall be.
    pub aim: String,
    /// What it was.
    pub measured: String,
    /// Whether that is good enough.
    pub reached: bool,
}

/// What a scenario found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Section {
    /// The heading.
    pub title: String,
    /// What was done, in paragraphs of Markdown.
    pub text: Vec<String>,
    /// Its aims.
    pub aims: Vec<Aim>,
    /// Its tables.
    pub tables: Vec<Table>,
    /// Its charts.
    pub charts: Vec<Chart>,
    /// What the figures say, in paragraphs.
    pub notes: Vec<String>,
    /// When it was measured; filled in by whoever runs the scenario.
    pub moment: Moment,
    /// The size of the run; filled in likewise.
    pub size: String,
    /// All runs that the tables were made from.
    pub raw: Value,
}

/// All sections.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// Of the run that came last.
    pub machine: Machine,
    /// By scenario.
    pub sections: serde_json::Map<String, Value>,
}

impl Results {
    /// Those of a folder; none if there are none yet.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join("results.json");
        match std::fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is not what this writes", path.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Puts the section of a scenario in its place.
    pub fn put(&mut self, scenario: &str, section: &Section) -> Result<()> {
        let section = serde_json::to_value(section)?;
        self.sections.insert(scenario.to_owned(), section);
        Ok(())
    }

    /// Writes all files; sections in this order.
    pub fn write(&self, dir: &Path, order: &[&str]) -> Result<()> {
        let charts = dir.join("charts");
        std::fs::create_dir_all(&charts)?;
        let mut sections = Vec::new();
        for name in order {
            if let Some(section) = self.sections.get(*name) {
                let section: Section = serde_json::from_value(section.clone())?;
                for chart in &section.charts {
                    chart::draw(chart, &charts.join(format!("{}.svg", chart.file)))?;
                }
                sections.push(section);
            }
        }
        let text = markdown::render(&self.machine, &sections);
        std::fs::write(dir.join("RESULTS.md"), text)?;
        let json = serde_json::to_string(self)?;
        std::fs::write(dir.join("results.json"), json + "\n")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(title: &str) -> Section {
        let mut table = Table::new("Costs", &["", "µs"]);
        table.row(vec!["plain".to_owned(), "17.1".to_owned()]);
        Section {
            title: title.to_owned(),
            tables: vec![table],
            charts: vec![Chart {
                file: "cost".to_owned(),
                title: "CPU".to_owned(),
                unit: "µs".to_owned(),
                places: vec!["plain".to_owned(), "other".to_owned()],
                lines: vec![Line {
                    name: "CPU".to_owned(),
                    points: vec![[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]],
                }],
            }],
            aims: vec![Aim {
                what: "CPU".to_owned(),
                aim: "≤ 1.10".to_owned(),
                measured: "1.20".to_owned(),
                reached: false,
            }],
            ..Section::default()
        }
    }

    #[test]
    fn a_scenario_replaces_its_own_section_only() {
        let dir = tempfile::tempdir().unwrap();
        let order = ["one", "two"];
        let mut results = Results::default();
        results.put("two", &section("Second")).unwrap();
        results.put("one", &section("First")).unwrap();
        results.write(dir.path(), &order).unwrap();
        let mut results = Results::read(dir.path()).unwrap();
        results.put("two", &section("Anew")).unwrap();
        results.write(dir.path(), &order).unwrap();

        let text = std::fs::read_to_string(dir.path().join("RESULTS.md")).unwrap();
        let place = |what: &str| text.find(what);
        assert!(place("## First").unwrap() < place("## Anew").unwrap());
        assert_eq!(place("## Second"), None);
        assert!(text.contains("| plain | 17.1 |"), "{text}");
        assert!(text.contains("missed"), "{text}");
        let svg = std::fs::read_to_string(dir.path().join("charts/cost.svg")).unwrap();
        assert!(svg.contains("<svg") && svg.contains("plain"));
    }
}
