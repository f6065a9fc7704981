//! Following the table: what this agent probes.
//!
//! After a change only the names that it touched are looked at. After a
//! listing, when agents come or go, and once a minute all of them are, page by
//! page, so that the table is never held for long.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use pointsman_coordinate::assign::prober;
use pointsman_mirror::table::{Probed, Standing};
use pointsman_model::{Element, HealthCheck};
use pointsman_store::Revision;
use tokio::task::yield_now;
use tokio::time::Instant;

use super::mark::Mark;
use super::verdict::{Counted, Streak};
use super::{Prober, Standings, Target, halves};

/// How often all is looked at, for what nobody told.
const RELIST: Duration = Duration::from_secs(60);
/// How many instances are looked at while the table is held.
const PAGE: usize = 1_000;
/// Where a change touches more, all is looked at.
const MOST: usize = 10_000;

/// How far the table has been followed.
#[derive(Debug, Default)]
pub(super) struct Followed {
    at: Revision,
    agents: Vec<Box<str>>,
    listing: u64,
    listed: Option<Instant>,
    /// The last check, to be shared by an app's instances.
    check: Option<Arc<HealthCheck>>,
}

impl Followed {
    /// When all is to be looked at again.
    pub(super) fn relist_at(&self) -> Instant {
        self.listed.unwrap_or_else(Instant::now) + RELIST
    }

    fn share(&mut self, check: &HealthCheck) -> Arc<HealthCheck> {
        match &self.check {
            Some(shared) if **shared == *check => Arc::clone(shared),
            _ => Arc::clone(self.check.insert(Arc::new(check.clone()))),
        }
    }
}

/// What is to be looked at.
enum News {
    Nothing,
    /// These names, and whether each was touched itself, or only its app.
    Names(Vec<(Arc<str>, bool)>),
    All,
}

impl Prober {
    /// Brings what is probed to what the table has.
    pub(super) async fn follow(&mut self) {
        match self.news() {
            News::Nothing => return,
            News::Names(names) => {
                for (name, itself) in names {
                    self.look_at(&name, itself);
                }
            }
            News::All => self.look_at_all().await,
        }
        let Standings { pending, unhealthy } = self.standings;
        self.metrics.set(self.targets.len(), pending, unhealthy);
    }

    fn news(&mut self) -> News {
        let table = self.mirror.read();
        let (at, before) = (table.revision(), self.followed.at);
        let relist = self.followed.listed.is_none_or(|at| at.elapsed() >= RELIST);
        if at == 0 || (at == before && !relist) {
            return News::Nothing;
        }
        self.followed.at = at;
        let agents = &mut self.followed.agents;
        let present = || table.agents().map(|(id, _)| id);
        if !agents.iter().map(|agent| &**agent).eq(present()) {
            *agents = present().map(Box::from).collect();
            return News::All;
        }
        if relist || at < before {
            return News::All;
        }
        let Some(touched) = table.touched_since(before) else {
            return News::All;
        };
        let mut names = Vec::new();
        for element in touched {
            match element {
                Element::Instance(app, id) => names.push((format!("{app}/{id}").into(), true)),
                element if element.is_defaults() => return News::All,
                Element::App(app) => {
                    let ids = table.instances_of(app).take(MOST + 1);
                    names.extend(ids.map(|id| (format!("{app}/{id}").into(), false)));
                }
                Element::Route(_) => {}
            }
            if names.len() > MOST {
                return News::All;
            }
        }
        News::Names(names)
    }

    /// Looks at one name. What was registered just now is probed at once.
    fn look_at(&mut self, name: &Arc<str>, at_once: bool) {
        let table = Arc::clone(self.mirror.table());
        let table = table.read().unwrap_or_else(PoisonError::into_inner);
        let (app, id) = halves(name);
        let mine = self.is_mine(name);
        self.take_in(name, table.probed(app, id).filter(|_| mine), at_once);
        if mine {
            for (key, revision) in table.orphans_of(app, id) {
                self.write(Arc::clone(name), 0, Mark::Orphan { key, revision });
            }
        }
    }

    async fn look_at_all(&mut self) {
        self.followed.listing += 1;
        self.followed.listed = Some(Instant::now());
        let shared = Arc::clone(self.mirror.table());
        let mut after = None;
        loop {
            {
                let table = shared.read().unwrap_or_else(PoisonError::into_inner);
                let page = table.probed_behind(after.as_ref(), PAGE);
                for (app, id, probed) in page.probed {
                    let name: Arc<str> = format!("{app}/{id}").into();
                    let mine = self.is_mine(&name);
                    self.take_in(&name, Some(probed).filter(|_| mine), false);
                }
                after = page.last;
            }
            if after.is_none() {
                break;
            }
            yield_now().await;
        }
        let listing = self.followed.listing;
        let gone = self.targets.iter().filter(|(_, t)| t.listing != listing);
        let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
        gone.iter().for_each(|name| self.drop_target(name));
        let mut after: Option<String> = None;
        loop {
            let page = self.read().orphans_behind(after.as_deref(), PAGE);
            for (name, key, revision) in page.orphans {
                // Those that wait already are enough for a minute.
                if self.is_mine(&name) && self.writes.len() < PAGE {
                    self.write(name.into(), 0, Mark::Orphan { key, revision });
                }
            }
            after = page.last;
            if after.is_none() {
                return;
            }
            yield_now().await;
        }
    }

    fn is_mine(&self, name: &str) -> bool {
        let agents = self.followed.agents.iter().map(|agent| &**agent);
        prober(agents, name) == Some(&self.agent)
    }

    fn take_in(&mut self, name: &Arc<str>, seen: Option<Probed<'_>>, at_once: bool) {
        let Some(seen) = seen else {
            self.drop_target(name);
            return;
        };
        if let Some(target) = self.targets.get_mut(name)
            && target.is(&seen)
        {
            target.listing = self.followed.listing;
            let before = std::mem::replace(&mut target.standing, seen.standing);
            self.count(Some(before), Some(seen.standing));
            return;
        }
        self.drop_target(name);
        self.tokens += 1;
        let now = Instant::now();
        let check = self.followed.share(&seen.check);
        let due = if at_once || seen.standing == Standing::Pending {
            now
        } else {
            self.schedule.turn(name, check.interval(), now)
        };
        self.schedule.add(name, due);
        self.count(None, Some(seen.standing));
        let target = Target {
            token: self.tokens,
            created: seen.created,
            addr: seen.addr,
            check,
            standing: seen.standing,
            due,
            at_once,
            listing: self.followed.listing,
            streak: Streak::new(),
            counted: Counted::default(),
            probe: None,
            write: None,
            marked: 0,
        };
        self.targets.insert(Arc::clone(name), target);
    }

    /// Counts a target that was `before` and is `now`.
    fn count(&mut self, before: Option<Standing>, now: Option<Standing>) {
        if let Some(count) = now.and_then(|now| self.standings.of(now)) {
            *count += 1;
        }
        if let Some(count) = before.and_then(|before| self.standings.of(before)) {
            *count -= 1;
        }
    }

    fn drop_target(&mut self, name: &Arc<str>) {
        if let Some(target) = self.targets.remove(name) {
            self.schedule.remove(name, target.due);
            self.count(Some(target.standing), None);
            if let Some(probe) = target.probe {
                probe.abort();
            }
        }
    }
}
