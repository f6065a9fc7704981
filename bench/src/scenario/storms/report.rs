//! The section of the report.

use serde_json::json;

use super::{CLIENTS, DEPLOY_RATE, HOSTS, RATE, Storm};
use crate::background;
use crate::cpu::Preference;
use crate::registry::Shape;
use crate::report::{Aim, Section, Table};
use crate::stats::{self, Spread};

const P99_AIM: f64 = 1.3;
/// The slowest request of a deploy, over that of an idle edge.
const STALL_AIM_MS: f64 = 5.0;
/// A lag that does not grow may still waver by so many milliseconds.
const WAVER: f64 = 100.0;
const QUIET: [&str; 2] = ["nothing", "etcd alone"];
const DEPLOY: &str = "a rolling deploy";
const STORMS: [&str; 3] = ["spread over many apps", "in one app", "in one app, moving"];

/// All storms, of apps like `shape` and one of `large` instances; `preference`
/// is how apps and load came before the edge.
pub(super) fn section(
    shape: Shape,
    large: usize,
    preference: Preference,
    all: &[Storm],
) -> Section {
    let group = Group(all);
    Section {
        title: "Storms".to_owned(),
        text: vec![format!(
            "{CLIENTS} clients put instances into etcd, each as soon as its last put was answered: \
             spread over {} instances of {} apps, all of which the edge has cached, or in one app \
             of {large} instances, each with another zone and, *moving*, another address than \
             before; or, as in *a rolling deploy*, {DEPLOY_RATE} a second in all. Meanwhile {RATE:.0} requests a second come for {HOSTS} hosts of \
             that app; edge, apps and load have a core for themselves{}. The stream is followed by \
             the one worker that serves them. *Behind* is for how long etcd had been further than \
             Redis, or the edge, in the first and the last third; *own wait* is how long the load \
             waited for its core each time, on average.",
            shape.instances(),
            shape.apps,
            background::on_preference(preference),
        )],
        aims: group.aims(),
        tables: vec![group.table()],
        raw: json!(all),
        ..Section::default()
    }
}

/// The storms of one edge.
struct Group<'a>(&'a [Storm]);

impl<'a> Group<'a> {
    fn named(&self, name: &str) -> impl Iterator<Item = &'a Storm> {
        self.0.iter().filter(move |storm| storm.name == name)
    }

    fn spread(&self, name: &str, get: fn(&Storm) -> f64) -> Spread {
        Spread::of(&self.named(name).map(get).collect::<Vec<f64>>())
    }

    /// Medians of the first and the last third.
    fn lag(&self, name: &str, get: fn(&Storm) -> [f64; 2]) -> String {
        let of = |at: usize| {
            let all: Vec<f64> = self.named(name).map(|storm| get(storm)[at]).collect();
            stats::median(&all)
        };
        format!("{:.0}, {:.0}", of(0), of(1))
    }

    /// p99 against that of the same round without a storm.
    fn ratio(&self, name: &str) -> Spread {
        let series = |name: &str| self.named(name).map(p99).collect::<Vec<f64>>();
        stats::paired(&series(name), &series(QUIET[0]))
    }

    fn table(&self) -> Table {
        let mut table = Table::new(
            "Requests beside a storm of changes",
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
                "slowest ms",
                "own wait µs",
                "failed",
            ],
        );
        for name in QUIET.into_iter().chain([DEPLOY]).chain(STORMS) {
            let failed: u64 = self.named(name).map(|storm| storm.requests.failed).sum();
            table.row(vec![
                name.to_owned(),
                self.spread(name, |s| s.rate).show(0),
                self.lag(name, |s| s.redis_lag),
                self.lag(name, |s| s.edge_lag),
                self.spread(name, |s| s.drain).show(0),
                format!("{:.0}", self.spread(name, |s| s.bytes / 1e3).median),
                self.spread(name, |s| s.requests.p50 / 1e3).show(2),
                self.spread(name, p99).show(2),
                self.ratio(name).show(2),
                self.spread(name, slowest).show(1),
                self.spread(name, |s| s.requests.own_wait).show(0),
                failed.to_string(),
            ]);
        }
        table
    }

    fn aims(&self) -> Vec<Aim> {
        let lags = STORMS.into_iter().map(|name| self.lag_aim(name));
        [self.p99_aim(), self.stall_aim()]
            .into_iter()
            .chain(lags)
            .collect()
    }

    fn lag_aim(&self, name: &str) -> Aim {
        let grows = |storm: &Storm| storm.edge_lag[1] > 2.0 * storm.edge_lag[0] + WAVER;
        Aim {
            what: format!("lag while {CLIENTS} clients put as fast as etcd takes it, {name}"),
            aim: "does not grow".to_owned(),
            measured: format!(
                "edge behind {} ms (first, last third) at {:.0} puts a second",
                self.lag(name, |s| s.edge_lag),
                self.spread(name, |s| s.rate).median
            ),
            reached: !self.named(name).any(grows),
        }
    }

    fn p99_aim(&self) -> Aim {
        let ratio = self.ratio(DEPLOY);
        Aim {
            what: "p99 of requests during a rolling deploy of 5,000 instances in 10 s".to_owned(),
            aim: format!("≤ {P99_AIM} × idle"),
            measured: format!("{} ×", ratio.show(2)),
            reached: ratio.median <= P99_AIM,
        }
    }

    fn stall_aim(&self) -> Aim {
        let [deploy, idle] = [DEPLOY, QUIET[0]].map(|name| self.spread(name, slowest));
        Aim {
            what: "the slowest request during a rolling deploy".to_owned(),
            aim: format!("no stall over {STALL_AIM_MS} ms"),
            measured: format!(
                "{} ms, and {} ms with nothing changing",
                deploy.show(1),
                idle.show(1)
            ),
            reached: deploy.median <= STALL_AIM_MS,
        }
    }
}

fn p99(storm: &Storm) -> f64 {
    storm.requests.p99 / 1e3
}

fn slowest(storm: &Storm) -> f64 {
    storm.requests.max / 1e3
}
