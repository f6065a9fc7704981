//! What the figures of the propagation are shown as.

use serde_json::json;

use super::changes::Measured;
use super::{LOAD_HOSTS, RATE, SPACING, Series, poller};
use crate::report::{Aim, Chart, Line, Section, Table};
use crate::stats;

/// Median and p99 beyond the bare watch, in milliseconds.
const AIM: [f64; 2] = [1.5, 3.0];

pub(super) fn section(workers: usize, all: &[Series], traefik: Option<&Measured>) -> Section {
    let mut notes = Vec::new();
    if traefik.is_none() {
        notes.push("Skipped, as not installed: Traefik.".to_owned());
    }
    let rates: Vec<String> = all
        .iter()
        .filter_map(|one| Some((one, one.load.as_ref()?)))
        .map(|(one, load)| {
            format!(
                "{} in flight: {:.0} requests a second, {} failed",
                one.in_flight,
                load.throughput(),
                load.failed
            )
        })
        .collect();
    notes.push(format!("Reached under load: {}.", rates.join("; ")));
    Section {
        title: "Propagation".to_owned(),
        text: vec![format!(
            "From a put into etcd until the last of {workers} workers sends requests there, and from \
             a delete until the last one no longer does; {} changes of each kind, {} ms apart. \
             With several in flight, the others, of other apps, are sent at the same moment, the \
             measured one somewhere among them; the same goes for the bare watch. The load is one \
             of {RATE:.0} requests a second for {LOAD_HOSTS} other hosts. A worker is asked about \
             every {} µs.",
            all.first().map_or(0, |one| one.measured.bare.len()),
            SPACING.as_millis(),
            poller::PAUSE.as_micros()
        )],
        aims: all.iter().map(aim).collect(),
        tables: vec![table(all, traefik)],
        charts: vec![chart(all)],
        notes,
        raw: json!({ "pointsman": all, "traefik": traefik }),
        ..Section::default()
    }
}

fn both(times: &[f64]) -> [f64; 2] {
    [
        stats::percentile(times, 0.5),
        stats::percentile(times, 0.99),
    ]
}

fn beyond(times: &[f64], bare: &[f64]) -> [f64; 2] {
    let (times, bare) = (both(times), both(bare));
    [times[0] - bare[0], times[1] - bare[1]]
}

fn show([p50, p99]: [f64; 2]) -> String {
    format!("{p50:.2} / {p99:.2}")
}

fn table(all: &[Series], traefik: Option<&Measured>) -> Table {
    let mut table = Table::new(
        "Milliseconds: median / p99, and beyond the bare watch",
        &[
            "",
            "bare put → watch",
            "put → watch of the instance",
            "add",
            "beyond",
            "remove",
            "beyond",
        ],
    );
    let ours = all.iter().map(|one| (one.name.as_str(), &one.measured));
    let theirs = traefik.map(|measured| ("Traefik (etcd), idle, 1 in flight", measured));
    for (name, one) in ours.chain(theirs) {
        table.row(vec![
            name.to_owned(),
            show(both(&one.bare)),
            show(both(&one.watched)),
            show(both(&one.added)),
            show(beyond(&one.added, &one.bare)),
            show(both(&one.removed)),
            show(beyond(&one.removed, &one.bare)),
        ]);
    }
    table
}

fn aim(one: &Series) -> Aim {
    let add = beyond(&one.measured.added, &one.measured.bare);
    let remove = beyond(&one.measured.removed, &one.measured.bare);
    let fits = |times: [f64; 2]| times[0] <= AIM[0] && times[1] <= AIM[1];
    Aim {
        what: format!("propagation, {}, beyond the bare watch", one.name),
        aim: format!("median {:.1} ms, p99 {:.1} ms", AIM[0], AIM[1]),
        measured: format!("add {} ms, remove {} ms", show(add), show(remove)),
        reached: fits(add) && fits(remove),
    }
}

fn chart(all: &[Series]) -> Chart {
    let line = |name: &str, of: fn(&Measured) -> &Vec<f64>| Line {
        name: name.to_owned(),
        points: all
            .iter()
            .map(|one| {
                let times = of(&one.measured);
                [0.0, 0.5, 0.99].map(|share| stats::percentile(times, share))
            })
            .collect(),
    };
    Chart {
        file: "propagation".to_owned(),
        title: "From etcd to the last worker (median; the line ends at p99)".to_owned(),
        unit: "ms".to_owned(),
        places: all.iter().map(|one| one.name.clone()).collect(),
        lines: vec![
            line("bare put → watch", |m| &m.bare),
            line("add", |m| &m.added),
            line("remove", |m| &m.removed),
        ],
    }
}
