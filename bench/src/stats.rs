//! Figures of repeated measurements.
//!
//! Rounds are interleaved: in each of them every candidate has its turns, so that
//! what a machine does beside strikes all of them. A ratio is taken within a
//! round, and then the median of the rounds.

use serde::{Deserialize, Serialize};

/// The middle of a series, and how far it spreads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle value.
    pub median: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
    /// The middle of the lower half.
    pub lower: f64,
    /// The middle of the upper half.
    pub upper: f64,
}

impl Spread {
    /// Of a series. An empty one gives zeros.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quantile(&sorted, 0.5),
            min: quantile(&sorted, 0.0),
            max: quantile(&sorted, 1.0),
            lower: quantile(&sorted, 0.25),
            upper: quantile(&sorted, 0.75),
        }
    }

    /// Median, and the lowest and highest behind it, with so many digits.
    pub fn show(&self, digits: usize) -> String {
        format!(
            "{:.digits$} ({:.digits$} – {:.digits$})",
            self.median, self.min, self.max
        )
    }
}

/// Of a sorted series, between its values where need be.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let place = share * last as f64;
    let below = sorted[place.floor() as usize];
    let above = sorted[place.ceil() as usize];
    below + (above - below) * place.fract()
}

/// The value below which this share of a series lies.
pub fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, share)
}

/// The middle value of a series.
pub fn median(values: &[f64]) -> f64 {
    Spread::of(values).median
}

/// Ratios of two series that were measured in the same rounds.
pub fn paired(values: &[f64], base: &[f64]) -> Spread {
    let ratios: Vec<f64> = values
        .iter()
        .zip(base)
        .map(|(value, base)| value / base)
        .collect();
    Spread::of(&ratios)
}

/// The order of `n` candidates in a turn: each begins once, and goes through
/// them forwards in even turns, backwards in odd ones.
pub fn order(n: usize, turn: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).map(|at| (at + turn / 2) % n).collect();
    if turn % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_middle_and_the_ends() {
        let spread = Spread::of(&[3.0, 1.0, 2.0, 10.0]);
        assert_eq!((spread.median, spread.min, spread.max), (2.5, 1.0, 10.0));
        assert_eq!(spread.show(1), "2.5 (1.0 – 10.0)");
    }

    #[test]
    fn a_ratio_is_that_of_the_rounds() {
        // The medians' ratio would be 2, that of each round is 1.5.
        let ratio = paired(&[1.5, 3.0, 6.0], &[1.0, 2.0, 4.0]);
        assert_eq!((ratio.median, ratio.min, ratio.max), (1.5, 1.5, 1.5));
    }

    #[test]
    fn in_each_round_each_has_its_turn() {
        for round in 0..8 {
            let mut order = order(3, round);
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2]);
        }
        assert_ne!(order(3, 0), order(3, 1));
        assert_ne!(order(3, 0), order(3, 2));
    }
}
