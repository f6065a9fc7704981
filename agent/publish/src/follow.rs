//! Following etcd while nothing is sent: between two looks, and before a
//! rebuild, which then writes all.
//!
//! A watch that nobody reads is held up by etcd, not buffered without bound;
//! but it falls behind, until what it has not told is compacted away and only
//! another listing helps. So whoever waits for a time reads it; who waits for
//! Redis to answer does not.

use std::time::Duration;

use pointsman_mirror::Progress;
use pointsman_model::Change;
use pointsman_store::Revision;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::{Publisher, Side, Turn};

impl Publisher {
    /// Follows the watch until the table is at `revision`.
    pub(super) async fn follow_to(&mut self, revision: Revision) -> Result<(), Turn> {
        while self.read().revision() < revision {
            let progress = self.mirror.step().await;
            self.take_quietly(progress)?;
        }
        Ok(())
    }

    /// Follows the watch for a while.
    pub(super) async fn follow_until(&mut self, until: Instant) -> Result<(), Turn> {
        loop {
            let progress = tokio::select! {
                biased;
                () = sleep_until(until) => return Ok(()),
                progress = self.mirror.step() => progress,
            };
            self.take_quietly(progress)?;
        }
    }

    /// Waits, and follows the watch meanwhile, if there is one; gives it up
    /// when it cannot be relied on.
    pub(super) async fn pass_time(&mut self, time: Duration) {
        let until = Instant::now() + time;
        if let Err(turn) = self.follow_until(until).await {
            info!(why = ?turn, "giving the watch up");
            self.doubt();
        }
        sleep_until(until).await;
    }

    /// Takes a step of the mirror whose changes need not be sent as batches.
    fn take_quietly(&mut self, progress: Progress) -> Result<(), Turn> {
        for (revision, changes) in self.take_progress(progress)? {
            if let Some(bulk) = &mut self.bulk {
                bulk.add(revision, changes.into_iter().map(|change| change.element));
            }
        }
        self.check_name()
    }

    /// Takes a step of the mirror; answers what it changes in Redis, revision
    /// by revision.
    pub(super) fn take_progress(
        &mut self,
        progress: Progress,
    ) -> Result<Vec<(Revision, Vec<Change>)>, Turn> {
        self.status.show_watch(self.mirror.is_watching());
        match progress {
            Progress::Moved(events, changes) => {
                self.status.etcd_answers();
                self.observer.events(events);
                self.status.show_table(&self.mirror);
                return Ok(changes);
            }
            Progress::Failed(error) => {
                self.status.heard::<(), _>(Side::Store, Err(error)).ok();
            }
            Progress::Ended(end) => return Err(Turn::ListAgain(format!("{end:?}"))),
            Progress::Watching => self.status.etcd_answers(),
        }
        Ok(Vec::new())
    }

    /// Whether the registry that is followed still is the one that it was.
    pub(super) fn check_name(&self) -> Result<(), Turn> {
        if self.mirror.is_renamed() {
            return Err(Turn::ListAgain("etcd names another epoch".into()));
        }
        Ok(())
    }
}
