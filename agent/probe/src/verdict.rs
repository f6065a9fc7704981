//! What probes mean: `fall` bad ones in a row make an instance unhealthy,
//! `rise` good ones healthy again; and when an agent should rather doubt
//! itself.

use pointsman_model::HealthCheck;
use tokio::time::Instant;

/// So many different instances must have failed in a row before an agent
/// doubts itself. Below, it cannot tell.
const ENOUGH: usize = 10;

/// The last probes of an instance, as far as they were alike. It does not
/// remember whether the instance is healthy: that is what etcd says, so that
/// an agent that takes an instance over goes on from there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Streak {
    good: bool,
    length: u32,
    since: Instant,
}

impl Streak {
    /// No probe yet.
    pub(super) fn new() -> Self {
        Self {
            good: true,
            length: 0,
            since: Instant::now(),
        }
    }

    pub(super) fn push(&mut self, good: bool) {
        if self.length == 0 || self.good != good {
            *self = Self {
                good,
                length: 0,
                since: Instant::now(),
            };
        }
        self.length = self.length.saturating_add(1);
    }

    /// What an instance that is `up`, or not, becomes by these probes; `None`:
    /// it stays as it is.
    pub(super) fn turns(&self, up: bool, check: &HealthCheck) -> Option<bool> {
        let needed = if up { check.fall() } else { check.rise() };
        (self.good != up && self.length >= needed).then_some(self.good)
    }
}

/// Whether what an agent sees is likelier its own trouble (its network, its
/// machine) than that of all instances at once.
#[derive(Debug)]
pub(super) struct Doubt {
    last_good: Option<Instant>,
    /// Counts the good probes.
    era: u64,
    /// Different instances that failed since the last good probe.
    failed: usize,
}

/// In which era an instance was last counted as failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted(u64);

impl Doubt {
    pub(super) fn new() -> Self {
        Self {
            last_good: None,
            era: 1,
            failed: 0,
        }
    }

    pub(super) fn note(&mut self, good: bool, counted: &mut Counted) {
        if good {
            self.last_good = Some(Instant::now());
            self.era += 1;
            self.failed = 0;
        } else if counted.0 != self.era {
            counted.0 = self.era;
            self.failed += 1;
        }
    }

    /// Whether a streak of bad probes is not to be believed: since it began,
    /// no instance at all has answered well, and enough of them were asked.
    pub(super) fn doubts(&self, streak: &Streak) -> bool {
        let answered = |good: Instant| good >= streak.since;
        self.failed >= ENOUGH && !self.last_good.is_some_and(answered)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;
    use pointsman_model::Policy;

    const SECOND: Duration = Duration::from_secs(1);

    fn check(rise: u32, fall: u32) -> HealthCheck {
        let policy = format!(r#"{{"health_check":{{"rise":{rise},"fall":{fall}}}}}"#);
        let policy = Policy::from_value(policy.as_bytes()).unwrap();
        policy.health_check.unwrap()
    }

    /// Pushes probes (`+` good, `-` bad), letting an instance turn when they
    /// say so; answers what it was after each.
    fn course(mut up: bool, check: &HealthCheck, probes: &str) -> String {
        let mut streak = Streak::new();
        let states = probes.chars().map(|probe| {
            streak.push(probe == '+');
            up = streak.turns(up, check).unwrap_or(up);
            if up { 'U' } else { 'd' }
        });
        states.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn only_probes_in_a_row_turn_an_instance() {
        for (rise, fall, up, probes, states) in [
            (2, 3, true, "--+---", "UUUUUd"),
            (2, 3, true, "-----", "UUddd"),
            (2, 3, false, "+-++", "dddU"),
            (2, 3, false, "+-+-+-", "dddddd"),
            (2, 3, true, "---+-++---", "UUddddUUUd"),
            (1, 1, true, "-+-+", "dUdU"),
            (10, 1, false, "++++++++++", "dddddddddU"),
        ] {
            assert_eq!(course(up, &check(rise, fall), probes), states, "{probes}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_instance_that_is_taken_over_keeps_its_state_until_probes_say_else() {
        assert_eq!(course(true, &check(2, 3), "--"), "UU");
        assert_eq!(course(false, &check(2, 3), "+"), "d");
        assert_eq!(Streak::new().turns(true, &check(1, 1)), None);
        assert_eq!(Streak::new().turns(false, &check(1, 1)), None);
    }

    /// Rounds of one probe for each of `instances`, a second apart; the good
    /// ones come first. Answers how many of the bad are believed in the end.
    async fn believed(good: usize, bad: usize, rounds: usize) -> usize {
        let mut doubt = Doubt::new();
        let mut streaks = vec![(Streak::new(), Counted::default()); good + bad];
        let mut believed = 0;
        for _ in 0..rounds {
            believed = 0;
            for (n, (streak, counted)) in streaks.iter_mut().enumerate() {
                streak.push(n < good);
                doubt.note(n < good, counted);
                let turns = streak.turns(true, &check(2, 3)).is_some();
                believed += usize::from(turns && !doubt.doubts(streak));
            }
            advance(SECOND).await;
        }
        believed
    }

    #[tokio::test(start_paused = true)]
    async fn an_agent_for_which_nothing_answers_doubts_itself() {
        assert_eq!(believed(0, 10, 3).await, 0);
        assert_eq!(believed(0, 500, 4).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_of_everything_is_doubted_from_its_first_moment() {
        let mut doubt = Doubt::new();
        let mut streaks = vec![(Streak::new(), Counted::default()); 20];
        for round in 0..10 {
            for (streak, counted) in &mut streaks {
                let good = round < 5;
                streak.push(good);
                doubt.note(good, counted);
                let turns = streak.turns(true, &check(2, 3)).is_some();
                assert!(!turns || doubt.doubts(streak), "round {round}");
                advance(SECOND / 20).await;
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_instances_are_no_reason_for_doubt() {
        assert_eq!(believed(0, 9, 5).await, 9);
    }

    #[tokio::test(start_paused = true)]
    async fn one_instance_that_answers_makes_the_others_failures_theirs() {
        assert_eq!(believed(1, 500, 3).await, 500);
        assert_eq!(believed(1, 500, 30).await, 500);
    }
}
