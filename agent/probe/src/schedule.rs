//! When each instance is probed: at a phase of its own within the interval, so
//! that ten thousand of them are spread evenly, and again a whole number of
//! intervals later, however long probes take.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Who is due when. Each name stands in it once at the most.
#[derive(Debug)]
pub(super) struct ProbeSchedule {
    origin: Instant,
    queue: BTreeSet<(Instant, Arc<str>)>,
}

impl ProbeSchedule {
    /// Nobody is due. Phases count from now.
    pub(super) fn new() -> Self {
        Self {
            origin: Instant::now(),
            queue: BTreeSet::new(),
        }
    }

    /// The first turn of `name` that is later than `after`.
    pub(super) fn turn(&self, name: &str, interval: Duration, after: Instant) -> Instant {
        let interval = nanos(interval).max(1);
        let phase = xxh3_64(name.as_bytes()) % interval;
        let passed = nanos(after.saturating_duration_since(self.origin));
        let rounds = match passed.checked_sub(phase) {
            None => 0,
            Some(since) => since / interval + 1,
        };
        self.origin + Duration::from_nanos(phase.saturating_add(rounds.saturating_mul(interval)))
    }

    pub(super) fn add(&mut self, name: &Arc<str>, due: Instant) {
        self.queue.insert((due, Arc::clone(name)));
    }

    pub(super) fn remove(&mut self, name: &Arc<str>, due: Instant) {
        self.queue.remove(&(due, Arc::clone(name)));
    }

    /// When the first one is due.
    pub(super) fn first(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Takes out the one that has been due for the longest.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Arc<str>, Instant)> {
        let (due, _) = self.queue.first()?;
        if *due > now {
            return None;
        }
        self.queue.pop_first().map(|(due, name)| (name, due))
    }
}

/// How many further turns have passed since `due`.
pub(super) fn missed(due: Instant, now: Instant, interval: Duration) -> u64 {
    nanos(now.saturating_duration_since(due)) / nanos(interval).max(1)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn turns_are_a_whole_number_of_intervals_apart() {
        let schedule = ProbeSchedule::new();
        let first = schedule.turn("shop/a", INTERVAL, Instant::now());
        assert!(first.duration_since(schedule.origin) < INTERVAL);
        let mut due = first;
        for round in 1..1_000 {
            // Asked at any time before the next turn, as slow probes do.
            let asked = due + Duration::from_millis(round % 10_000);
            due = schedule.turn("shop/a", INTERVAL, asked);
            let rounds = u32::try_from(round).unwrap();
            assert_eq!(due, first + INTERVAL * rounds);
        }
        assert_eq!(schedule.turn("shop/a", INTERVAL, due), due + INTERVAL);
    }

    #[tokio::test(start_paused = true)]
    async fn instances_are_spread_over_the_interval() {
        let schedule = ProbeSchedule::new();
        let mut tenths = [0_usize; 10];
        for n in 0..10_000 {
            let due = schedule.turn(&format!("shop/{n}"), INTERVAL, schedule.origin);
            let tenth = due.duration_since(schedule.origin).as_millis() / 1_000;
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        // Five standard deviations of 10,000 throws into ten boxes are 150.
        assert!(tenths.iter().all(|n| n.abs_diff(1_000) < 150), "{tenths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_due_comes_first_and_nobody_before_its_time() {
        let mut schedule = ProbeSchedule::new();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let now = Instant::now();
        schedule.add(&a, now + INTERVAL);
        schedule.add(&b, now + INTERVAL / 2);
        assert_eq!(schedule.pop(now), None);
        assert_eq!(schedule.first(), Some(now + INTERVAL / 2));
        advance(INTERVAL).await;
        let order = [(); 3].map(|()| schedule.pop(Instant::now()).map(|(name, _)| name));
        assert_eq!(order, [Some(b), Some(a), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn turns_that_passed_are_counted_not_made_up_for() {
        let due = Instant::now();
        let late = |seconds| missed(due, due + Duration::from_secs(seconds), INTERVAL);
        assert_eq!([late(0), late(9), late(10), late(35)], [0, 0, 1, 3]);
    }
}
