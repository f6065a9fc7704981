//! Following etcd while nothing is sent: between two looks, and before a
//! rebuild, which then writes all.
//!
//! A watch that nobody reads is held up by etcd, not buffered without bound;
//! but it falls behind, until what it has not told is compacted away and only
//! another listing helps. So whoever waits for a time reads it; who waits for
//! Redis to answer does not.

use std::sync::PoisonError;
use std::time::Duration;

use pointsman_mirror::watch::{Step, Watcher};
use pointsman_store::Revision;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use super::{Publisher, Side, Turn};

impl Publisher {
    /// Follows the watch until the table is at `revision`.
    pub(super) async fn follow_to(
        &mut self,
        watcher: &mut Watcher,
        revision: Revision,
    ) -> Result<(), Turn> {
        while self.read().revision() < revision {
            let step = watcher.step().await;
            self.take_quietly(watcher, step)?;
        }
        Ok(())
    }

    /// Follows the watch for a while.
    pub(super) async fn follow_until(
        &mut self,
        watcher: &mut Watcher,
        until: Instant,
    ) -> Result<(), Turn> {
        loop {
            let step = tokio::select! {
                biased;
                () = sleep_until(until) => return Ok(()),
                step = watcher.step() => step,
            };
            self.take_quietly(watcher, step)?;
        }
    }

    /// Waits, and follows the watch meanwhile, if there is one; gives it up
    /// when it is in doubt.
    pub(super) async fn pass_time(&mut self, watch: &mut Option<Watcher>, time: Duration) {
        let until = Instant::now() + time;
        if let Some(watcher) = watch
            && let Err(turn) = self.follow_until(watcher, until).await
        {
            info!(why = ?turn, "giving the watch up");
            *watch = None;
        }
        sleep_until(until).await;
    }

    /// Takes a step of the watch whose changes need not be sent.
    fn take_quietly(&mut self, watcher: &Watcher, step: Step) -> Result<(), Turn> {
        match step {
            Step::Events(revisions) => {
                self.note_store_answers();
                {
                    let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
                    for (revision, events) in &revisions {
                        self.observer.events(events.len());
                        table.apply(*revision, events);
                    }
                }
                self.show_table();
                if self.read().epoch() != Some(watcher.epoch()) {
                    return Err(Turn::ListAgain("etcd names another epoch".into()));
                }
            }
            Step::Failed(error) => {
                self.heard::<(), _>(Side::Store, Err(error)).ok();
            }
            Step::Ended(end) => return Err(Turn::ListAgain(format!("{end:?}"))),
            Step::Watching => self.note_store_answers(),
            Step::Page(_) | Step::Listed(_) => {}
        }
        Ok(())
    }
}
