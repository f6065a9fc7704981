//! Whether the agent is ready: after Redis has once been brought to what etcd
//! held, until the agent is told to stop.
//!
//! An etcd or Redis that goes away later does not make an agent unready: the
//! edges serve what they have, and taking the agent out would help nobody.

use pointsman_publish::{Phase, SyncStatus};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Answers whether the agent is ready.
#[derive(Clone, Debug)]
pub struct Readiness {
    status: watch::Receiver<SyncStatus>,
    stop: CancellationToken,
}

impl Readiness {
    /// Reads the sync's status; `stop` ends readiness.
    pub fn new(status: watch::Receiver<SyncStatus>, stop: CancellationToken) -> Self {
        Self { status, stop }
    }

    /// `Ok`, or a sentence that says what is being waited for.
    pub fn check(&self) -> Result<(), String> {
        if self.stop.is_cancelled() {
            return Err("the agent is stopping".to_owned());
        }
        let status = self.status.borrow();
        if status.ready {
            return Ok(());
        }
        let doing = match (status.phase, &status.hold_reason) {
            (Phase::Holding, Some(reason)) => return Err(format!("holding: {reason}")),
            (Phase::Starting, _) => "has not reached etcd and Redis yet",
            (Phase::Listing, _) => "is reading etcd's content",
            (Phase::Rebuilding, _) => "is writing the table to Redis",
            _ => "has not brought Redis up to date yet",
        };
        Err(match &status.last_error {
            Some(error) => format!("the agent {doing}; last error: {error}"),
            None => format!("the agent {doing}"),
        })
    }

    /// Waits until the sync's status may have changed. Cancel safe.
    pub async fn moved(&mut self) {
        if self.status.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether the agent was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Waits until the agent is told to stop.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// The sync's status as it is now.
    pub fn status(&self) -> SyncStatus {
        self.status.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_what_is_waited_for() {
        let (sender, status) = watch::channel(SyncStatus::default());
        let stop = CancellationToken::new();
        let readiness = Readiness::new(status, stop.clone());
        let set = |change: fn(&mut SyncStatus)| sender.send_modify(change);
        assert_eq!(
            readiness.check().unwrap_err(),
            "the agent has not reached etcd and Redis yet"
        );
        set(|s| s.last_error = Some("redis is not available".into()));
        assert!(
            readiness
                .check()
                .unwrap_err()
                .ends_with("redis is not available")
        );
        set(|s| {
            s.phase = Phase::Holding;
            s.hold_reason = Some("etcd has gone back".into());
        });
        assert_eq!(
            readiness.check().unwrap_err(),
            "holding: etcd has gone back"
        );
        set(|s| s.ready = true);
        assert_eq!(readiness.check(), Ok(()));
        stop.cancel();
        assert_eq!(readiness.check().unwrap_err(), "the agent is stopping");
    }
}
