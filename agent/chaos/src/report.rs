//! The table, and what counts as a violation.

use std::time::Duration;

use crate::faults::FaultKind;
use crate::load::FaultTally;

/// What came of a fault.
pub struct FaultOutcome {
    pub fault: FaultKind,
    pub tally: FaultTally,
    /// Changes of instances meanwhile.
    pub changes: u64,
    /// How long it took after the fault until each worker was right; or what
    /// was not.
    pub right_after: Result<Duration, String>,
}

impl FaultOutcome {
    /// The head of the table.
    pub fn head() -> String {
        format!(
            "{:<38} {:>7} {:>6} {:>6} {:>6} {:>7} {:>8} {:>9} {:>8}",
            "fault",
            "sent",
            "failed",
            "broken",
            "stale",
            "changes",
            "slowest",
            "right in",
            "excused"
        )
    }

    /// Its row.
    pub fn row(&self) -> String {
        let tally = &self.tally;
        let right = match &self.right_after {
            Ok(after) => ms(*after),
            Err(_) => "never".to_owned(),
        };
        format!(
            "{:<38} {:>7} {:>6} {:>6} {:>6} {:>7} {:>8} {right:>9} {:>8}",
            self.fault.name(),
            tally.sent,
            tally.failed,
            tally.broken_off,
            tally.stale,
            self.changes,
            ms(tally.slowest),
            tally.excused,
        )
    }

    /// What must not be.
    pub fn violations(&self) -> Vec<String> {
        let tally = &self.tally;
        let mut violations = Vec::new();
        if tally.sent == 0 {
            violations.push("no request was sent".to_owned());
        }
        if tally.failed > 0 {
            violations.push(format!("{} requests failed", tally.failed));
        }
        if tally.broken_off > 0 && !self.fault.takes_connections() {
            violations.push(format!("{} exchanges broke off", tally.broken_off));
        }
        if tally.stale > 0 {
            violations.push(format!(
                "{} requests went to an instance that was deregistered, up to {} before",
                tally.stale,
                ms(tally.stalest)
            ));
        }
        if let Err(wrong) = &self.right_after {
            violations.push(wrong.clone());
        }
        if !violations.is_empty() {
            let kinds = &tally.kinds;
            violations.extend(
                kinds
                    .iter()
                    .map(|(kind, count)| format!("{count} × {kind}")),
            );
        }
        violations
    }
}

fn ms(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(fault: FaultKind, change: impl FnOnce(&mut FaultTally)) -> FaultOutcome {
        let mut tally = FaultTally {
            sent: 100,
            ..FaultTally::default()
        };
        change(&mut tally);
        FaultOutcome {
            fault,
            tally,
            changes: 0,
            right_after: Ok(Duration::ZERO),
        }
    }

    #[test]
    fn a_clean_run_has_no_violation() {
        let clean = outcome(FaultKind::EtcdPaused, |tally| tally.excused = 3);
        assert_eq!(clean.violations(), Vec::<String>::new());
    }

    #[test]
    fn each_of_them_is_one() {
        let failed = outcome(FaultKind::Nothing, |tally| tally.failed = 1);
        let stale = outcome(FaultKind::Nothing, |tally| tally.stale = 1);
        let broken_off = outcome(FaultKind::Nothing, |tally| tally.broken_off = 1);
        let silent = outcome(FaultKind::Nothing, |tally| tally.sent = 0);
        let mut never = outcome(FaultKind::Nothing, |_| {});
        never.right_after = Err("wrong".to_owned());
        for violating in [failed, stale, broken_off, silent, never] {
            assert_eq!(violating.violations().len(), 1);
        }
    }

    #[test]
    fn only_a_fault_of_nginx_may_break_exchanges_off() {
        let reloaded = outcome(FaultKind::NginxReloaded, |tally| tally.broken_off = 1);
        assert_eq!(reloaded.violations(), Vec::<String>::new());
    }
}
