//! All edges, as far as this agent has heard of them. No I/O.

use std::collections::BTreeMap;
use std::time::SystemTime;

use pointsman_model::Revision;
use tokio::time::{Duration, Instant};

use crate::report::Report;

/// An edge as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeView {
    /// Its name.
    pub name: String,
    /// Whether it follows.
    pub state: EdgeState,
    /// By how many revisions it is behind; `None` if it has never reported, or
    /// follows another registry.
    pub behind: Option<Revision>,
    /// The last report.
    pub report: Option<Report>,
}

/// Whether an edge follows the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeState {
    /// It has what was there a second ago.
    Live,
    /// It reports, and lacks that since then.
    Behind(SystemTime),
    /// It has not reported since then, or at least since this agent started.
    /// It may still be serving.
    Missing(SystemTime),
}

impl EdgeState {
    /// Its name, as the API and the metrics have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Behind(_) => "behind",
            Self::Missing(_) => "missing",
        }
    }
}

/// What an edge lacks, so that something is not done everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// The edge.
    pub edge: String,
    /// Why.
    pub why: Holdup,
}

/// Why an edge holds something up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holdup {
    /// It has not reported since then.
    Missing(SystemTime),
    /// It follows another registry.
    OtherEpoch,
    /// It has applied only this revision.
    Applied(Revision),
    /// So many requests are in flight there.
    InFlight(u64),
}

/// The edges by name.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    edges: BTreeMap<String, Heard>,
    /// Where the table was at the last tick, and at the one before.
    revisions: [Revision; 2],
}

/// What was heard of one edge.
#[derive(Clone, Debug)]
struct Heard {
    report: Option<Report>,
    /// When a new report was last read; at first, when its name was learnt.
    at: SystemTime,
    /// The same by the clock that is never set.
    at_instant: Instant,
    /// Whether its report has expired.
    is_missing: bool,
    behind_since: Option<SystemTime>,
}

impl Fleet {
    /// Learns a name, before its report is read.
    pub(crate) fn learn(&mut self, name: &str) {
        if !self.edges.contains_key(name) {
            let heard = Heard {
                report: None,
                at: SystemTime::now(),
                at_instant: Instant::now(),
                is_missing: true,
                behind_since: None,
            };
            self.edges.insert(name.to_owned(), heard);
        }
    }

    /// Takes what was read of an edge: a report, or that it has expired. Answers
    /// whether that is a new report.
    pub(crate) fn take(&mut self, name: &str, report: Option<Report>) -> bool {
        self.learn(name);
        let Some(heard) = self.edges.get_mut(name) else {
            return false;
        };
        heard.is_missing = report.is_none();
        let mut is_new = false;
        if let Some(report) = report {
            is_new = heard
                .report
                .as_ref()
                .is_none_or(|old| old.seq != report.seq);
            if is_new {
                heard.at = SystemTime::now();
                heard.at_instant = Instant::now();
            }
            if report.applied >= self.revisions[1] {
                heard.behind_since = None;
            }
            heard.report = Some(report);
        }
        is_new
    }

    pub(crate) fn forget(&mut self, name: &str) {
        self.edges.remove(name);
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.edges.keys().map(String::as_str)
    }

    pub(crate) fn is_missing(&self, name: &str) -> bool {
        self.edges.get(name).is_none_or(|heard| heard.is_missing)
    }

    /// The names of edges that were not heard from for so long.
    pub(crate) fn silent_for(&self, time: Duration) -> Vec<String> {
        let silent = self.edges.iter();
        let silent = silent.filter(|(_, heard)| heard.at_instant.elapsed() >= time);
        silent.map(|(name, _)| name.clone()).collect()
    }

    /// Once a second: an edge that lacks what the table had at the last tick is
    /// behind.
    pub(crate) fn tick(&mut self, revision: Revision) {
        let [last, _] = self.revisions;
        self.revisions = [revision, last];
        for heard in self.edges.values_mut() {
            let applied = heard.report.as_ref().map_or(0, |report| report.applied);
            if applied >= last {
                heard.behind_since = None;
            } else {
                heard.behind_since.get_or_insert_with(SystemTime::now);
            }
        }
    }

    pub(crate) fn list(&self, epoch: Option<&str>, revision: Revision) -> Vec<EdgeView> {
        let all = self.edges.iter().map(|(name, heard)| {
            let follows = heard.report.as_ref().filter(|r| Some(&*r.epoch) == epoch);
            EdgeView {
                name: name.clone(),
                state: match (heard.is_missing, follows, heard.behind_since) {
                    (true, ..) => EdgeState::Missing(heard.at),
                    (false, None, since) => EdgeState::Behind(since.unwrap_or(heard.at)),
                    (false, _, Some(since)) => EdgeState::Behind(since),
                    (false, _, None) => EdgeState::Live,
                },
                behind: follows.map(|report| (revision - report.applied).max(0)),
                report: heard.report.clone(),
            }
        });
        all.collect()
    }

    /// The edges that have not applied `revision` of the registry `epoch`.
    pub(crate) fn lacking(&self, epoch: Option<&str>, revision: Revision) -> Vec<Lacking> {
        self.held_up(|report| {
            if Some(&*report.epoch) != epoch {
                Some(Holdup::OtherEpoch)
            } else if report.applied < revision {
                Some(Holdup::Applied(report.applied))
            } else {
                None
            }
        })
    }

    /// The edges that have not applied the draining of `instance`, which was
    /// made at `revision`, or have requests in flight on it.
    pub(crate) fn undrained(
        &self,
        epoch: Option<&str>,
        revision: Revision,
        instance: &str,
    ) -> Vec<Lacking> {
        self.held_up(|report| {
            if Some(&*report.epoch) != epoch {
                return Some(Holdup::OtherEpoch);
            } else if report.applied < revision {
                return Some(Holdup::Applied(report.applied));
            }
            // One that is not there has nothing in flight.
            match report.draining.get(instance) {
                Some(0) | None => None,
                Some(count) => Some(Holdup::InFlight(*count)),
            }
        })
    }

    fn held_up(&self, why: impl Fn(&Report) -> Option<Holdup>) -> Vec<Lacking> {
        let all = self.edges.iter().filter_map(|(edge, heard)| {
            let why = match &heard.report {
                Some(report) if !heard.is_missing => why(report)?,
                _ => Holdup::Missing(heard.at),
            };
            let edge = edge.clone();
            Some(Lacking { edge, why })
        });
        all.collect()
    }
}
