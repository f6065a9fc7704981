//! The pauses of everything that tries again: they double, and are never those
//! of another agent, so that many that fail together do not come back together.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Pauses between tries; each is drawn from the upper half of its length.
#[derive(Debug)]
pub struct Pauses {
    policy: ExponentialBuilder,
    following: <ExponentialBuilder as BackoffBuilder>::Backoff,
    longest: Duration,
}

impl Pauses {
    /// From `first` on, doubling up to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        // The library adds up to as much again to each.
        let policy = ExponentialBuilder::new()
            .with_min_delay(first / 2)
            .with_max_delay(longest / 2)
            .without_max_times()
            .with_jitter();
        Self {
            policy,
            following: policy.build(),
            longest,
        }
    }

    /// The same, drawn from `seed`.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.policy = self.policy.with_jitter_seed(seed);
        self.reset();
        self
    }

    /// How long to wait before the next try.
    pub fn following(&mut self) -> Duration {
        self.following.next().unwrap_or(self.longest)
    }

    /// Begins again with the first pause, after a success.
    pub fn reset(&mut self) {
        self.following = self.policy.build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(2);

    fn eight(pauses: &mut Pauses) -> [Duration; 8] {
        [(); 8].map(|()| pauses.following())
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_a_success() {
        let mut pauses = Pauses::new(FIRST, LONGEST);
        for _ in 0..100 {
            let mut length = FIRST;
            for pause in eight(&mut pauses) {
                assert!(
                    pause >= length / 2 && pause <= length,
                    "{pause:?} of {length:?}"
                );
                length = (length * 2).min(LONGEST);
            }
            pauses.reset();
        }
    }

    #[test]
    fn no_two_are_in_step_unless_they_have_one_seed() {
        let pauses = || Pauses::new(FIRST, LONGEST);
        assert_ne!(eight(&mut pauses()), eight(&mut pauses()));
        assert_ne!(
            eight(&mut pauses().seeded(1)),
            eight(&mut pauses().seeded(2))
        );
        assert_eq!(
            eight(&mut pauses().seeded(1)),
            eight(&mut pauses().seeded(1))
        );
    }
}
