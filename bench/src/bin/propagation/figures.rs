//! Median, p99 and maximum, in a table.

use std::fmt;
use std::time::Duration;

/// Figures of one series.
#[derive(Clone, Copy, Default)]
struct Figures {
    median: f64,
    p99: f64,
    max: f64,
}

impl Figures {
    fn of(times: &[Duration]) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted
                .get(rank.saturating_sub(1))
                .copied()
                .unwrap_or_default()
        };
        Self {
            median: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// The printed table.
pub struct Table {
    lines: Vec<String>,
    base: Figures,
}

impl Table {
    pub fn new() -> Self {
        let head = format!(
            "{:<32} {:>8} {:>8} {:>8}   {:>12} {:>9}",
            "", "median", "p99", "max", "over bare:", "p99"
        );
        Self {
            lines: vec![head],
            base: Figures::default(),
        }
    }

    pub fn section(&mut self, name: &str) {
        self.lines.push(name.to_owned());
    }

    /// The row that the others of its section are compared with.
    pub fn base(&mut self, name: &str, times: &[Duration]) {
        let figures = Figures::of(times);
        self.base = figures;
        self.lines.push(line(name, figures));
    }

    pub fn row(&mut self, name: &str, times: &[Duration]) {
        let figures = Figures::of(times);
        let (median, p99) = (
            figures.median - self.base.median,
            figures.p99 - self.base.p99,
        );
        self.lines.push(format!(
            "{}   {median:>+12.2} {p99:>+9.2}",
            line(name, figures)
        ));
    }
}

fn line(name: &str, Figures { median, p99, max }: Figures) -> String {
    format!("  {name:<30} {median:>8.2} {p99:>8.2} {max:>8.2}")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_are_those_of_the_sorted_series() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        let figures = Figures::of(&times);
        assert_eq!(
            (figures.median, figures.p99, figures.max),
            (100.0, 198.0, 200.0)
        );
    }
}
