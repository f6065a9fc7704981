//! The section of the report.

use serde_json::json;

use super::crowd::{Crowd, SILENCE};
use super::floods::{COLD_RATE, FLOOD, Flooded, KNOWN, KNOWN_RATE};
use super::{Added, Large, WORKERS};
use crate::report::{Aim, Section, Table};
use crate::stats::Spread;

/// All that was measured.
pub struct Measured {
    /// One request at a time.
    pub added: Added,
    /// Requests of a crowd for one host.
    pub crowd: usize,
    /// The look-ups that each crowd caused.
    pub lookups: Vec<u64>,
    /// Crowds for hosts of one large app.
    pub large: Large,
    /// Floods of unknown hosts.
    pub floods: Vec<Flooded>,
}

/// Makes it.
pub fn section(measured: &Measured) -> Section {
    let Measured {
        added,
        crowd,
        lookups,
        large,
        floods,
    } = measured;
    let most = lookups.iter().copied().max().unwrap_or(0);
    let counts: Vec<f64> = lookups.iter().map(|count| *count as f64).collect();
    Section {
        title: "Misses and floods".to_owned(),
        text: vec![format!(
            "A miss asks Redis once, and then sends the request on. The crowd: {crowd} requests over \
             as many connections for a host that nobody has asked for, while Redis holds back its \
             answers for {SILENCE} ms, so that all of them are there; {WORKERS} workers, {} times. \
             The floods: {FLOOD} connections that ask again when they are answered, for another \
             host each time, while {KNOWN} known hosts are asked for at {KNOWN_RATE:.0} requests a \
             second over other connections, and hosts that have a route and are not cached at \
             {COLD_RATE:.0} a second; one worker, which is as busy as it can be, so that the flood \
             of known hosts is what the others are to be compared with.",
            lookups.len()
        )],
        aims: vec![Aim {
            what: "concurrent misses for one host".to_owned(),
            aim: "one look-up for a worker".to_owned(),
            measured: format!("{} for {WORKERS} workers", Spread::of(&counts).show(0)),
            reached: most <= WORKERS as u64,
        }],
        tables: vec![singles(added), crowds(large), flood_table(floods)],
        notes: vec![format!(
            "A miss adds {:.2} ms in the median.",
            (added.miss.p50 - added.hit.p50) / 1e3
        )],
        raw: json!({ "added": added, "crowd": lookups, "large": large, "floods": floods }),
        ..Section::default()
    }
}

fn singles(added: &Added) -> Table {
    let mut table = Table::new(
        "One request at a time",
        &["", "p50 ms", "p99 ms", "worst ms"],
    );
    for (name, outcome) in [
        ("cached host", &added.hit),
        ("host that is not cached", &added.miss),
    ] {
        table.row(vec![
            name.to_owned(),
            format!("{:.3}", outcome.p50 / 1e3),
            format!("{:.3}", outcome.p99 / 1e3),
            format!("{:.1}", outcome.max / 1e3),
        ]);
    }
    table
}

fn crowds(large: &Large) -> Table {
    let title = format!(
        "{} hosts at once, none of them cached, of one app of {} instances; one worker",
        large.hosts, large.instances
    );
    let mut table = Table::new(
        &title,
        &[
            "the app",
            "answered with 200",
            "its instances were read",
            "until the last answer, ms",
        ],
    );
    for (name, crowds) in [("is not cached", &large.cold), ("is cached", &large.warm)] {
        let spread = |of: fn(&Crowd) -> f64| {
            let figures: Vec<f64> = crowds.iter().map(of).collect();
            Spread::of(&figures).show(0)
        };
        table.row(vec![
            name.to_owned(),
            spread(|crowd| crowd.good as f64),
            spread(|crowd| crowd.reads as f64),
            spread(|crowd| crowd.millis),
        ]);
    }
    table
}

fn flood_table(floods: &[Flooded]) -> Table {
    let mut table = Table::new(
        "Floods, while known and cold hosts are asked for",
        &[
            "flood of",
            "its requests a second",
            "known hosts: p50 ms",
            "p99 ms",
            "failed",
            "cold hosts: p50 ms",
            "p99 ms",
            "failed",
            "look-ups a second",
            "Redis's commands a second",
            "routes evicted",
            "negatives evicted",
        ],
    );
    for one in floods {
        let rate = one.flood.as_ref().map_or(0.0, |flood| {
            (flood.good + flood.failed) as f64 / flood.seconds
        });
        table.row(vec![
            one.name.to_owned(),
            format!("{rate:.0}"),
            format!("{:.2}", one.known.p50 / 1e3),
            format!("{:.2}", one.known.p99 / 1e3),
            one.known.failed.to_string(),
            format!("{:.2}", one.cold.p50 / 1e3),
            format!("{:.2}", one.cold.p99 / 1e3),
            one.cold.failed.to_string(),
            format!("{:.0}", one.lookups as f64 / one.seconds),
            format!("{:.0}", one.redis_commands as f64 / one.seconds),
            one.evicted_routes.to_string(),
            one.evicted_negatives.to_string(),
        ]);
    }
    table
}
