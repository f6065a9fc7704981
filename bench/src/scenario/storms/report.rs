//! The section of the report.

use serde_json::json;

use super::{CLIENTS, HOSTS, RATE, Storm};
use crate::registry::Shape;
use crate::report::{Aim, Section, Table};
use crate::stats::{self, Spread};

const P99_AIM: f64 = 1.2;
/// A lag that does not grow may still waver by so many milliseconds.
const WAVER: f64 = 100.0;

/// All storms, of apps like `shape` and one of `large` instances; `preferred`
/// if apps and load came before the edge.
pub(super) fn section(shape: Shape, large: usize, preferred: bool, all: &[Storm]) -> Section {
    let named = |name: &str| {
        all.iter()
            .filter(|storm| storm.name == name)
            .collect::<Vec<_>>()
    };
    let series =
        |name: &str, get: fn(&Storm) -> f64| named(name).into_iter().map(get).collect::<Vec<f64>>();
    let p99 = |storm: &Storm| storm.requests.p99 / 1e3;
    let idle = series("nothing", p99);
    let mut table = Table::new(
        "Storms",
        &[
            "changes",
            "a second",
            "Redis behind, ms: begin, end",
            "edge behind, ms: begin, end",
            "edge has all after, ms",
            "kB/s out of Redis",
            "requests p50 ms",
            "requests p99 ms",
            "× idle",
            "own wait µs",
            "failed",
        ],
    );
    let mut aims = Vec::new();
    for name in [
        "nothing",
        "etcd alone",
        "spread over many apps",
        "in one app",
    ] {
        let spread = |get: fn(&Storm) -> f64| Spread::of(&series(name, get));
        let pair = |get: fn(&Storm) -> [f64; 2]| {
            let of = |at: usize| {
                let all: Vec<f64> = named(name).into_iter().map(|s| get(s)[at]).collect();
                stats::median(&all)
            };
            format!("{:.0}, {:.0}", of(0), of(1))
        };
        let ratio = stats::paired(&series(name, p99), &idle);
        let failed: u64 = named(name).iter().map(|storm| storm.requests.failed).sum();
        table.row(vec![
            name.to_owned(),
            spread(|s| s.rate).show(0),
            pair(|s| s.redis_lag),
            pair(|s| s.edge_lag),
            spread(|s| s.drain).show(0),
            format!("{:.0}", spread(|s| s.bytes / 1e3).median),
            spread(|s| s.requests.p50 / 1e3).show(2),
            spread(p99).show(2),
            ratio.show(2),
            spread(|s| s.requests.own_wait).show(0),
            failed.to_string(),
        ]);
        if name == "nothing" || name == "etcd alone" {
            continue;
        }
        let grows = |storm: &&Storm| storm.edge_lag[1] > 2.0 * storm.edge_lag[0] + WAVER;
        let growing = named(name).into_iter().any(|storm| grows(&storm));
        aims.push(Aim {
            what: format!("lag while 16 clients put as fast as etcd takes it, {name}"),
            aim: "does not grow".to_owned(),
            measured: format!(
                "edge behind {} ms (first, last third) at {:.0} puts a second",
                pair(|s| s.edge_lag),
                spread(|s| s.rate).median
            ),
            reached: !growing,
        });
        aims.push(Aim {
            what: format!("p99 of requests during a storm {name}"),
            aim: format!("≤ {P99_AIM} × idle"),
            measured: format!("{} ×", ratio.show(2)),
            reached: ratio.median <= P99_AIM,
        });
    }
    Section {
        title: "Storms".to_owned(),
        text: vec![format!(
            "{CLIENTS} clients put instances into etcd, each as soon as its last put was answered: \
             spread over {} instances of {} apps, all of which the edge has cached, or in one app \
             of {large} instances. Meanwhile {RATE:.0} requests a second come for {HOSTS} hosts of \
             that app; edge, apps and load have a core for themselves{}. *Behind* is for how long \
             etcd had been further than Redis, or the edge, in the first and the last third; \
             *own wait* is how long the load waited for its core each time, on average.",
            shape.instances(),
            shape.apps,
            if preferred {
                ", on which apps and load come before the edge (nice -20), at rest, too"
            } else {
                ""
            }
        )],
        aims,
        tables: vec![table],
        raw: json!(all),
        ..Section::default()
    }
}
