//! The tasks of a process and their common end.
//!
//! A task that ends before its time takes the others down with it. A shutdown
//! is bounded: what is not done within the grace period is abandoned.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

type AnyError = Box<dyn Error + Send + Sync>;

/// Why the tasks did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// A task ended although nobody asked for it.
    #[error("the task \"{name}\" ended unasked")]
    Ended {
        /// The task.
        name: &'static str,
    },
    /// A task failed.
    #[error("the task \"{name}\" failed")]
    Failed {
        /// The task.
        name: &'static str,
        /// Why.
        source: AnyError,
    },
    /// A task panicked; the log has the place.
    #[error("the task \"{name}\" panicked")]
    Panicked {
        /// The task.
        name: &'static str,
    },
    /// Some tasks did not end in time.
    #[error("not done after the grace period of {}: {}", humantime::format_duration(*.grace), .names.join(", "))]
    Late {
        /// The grace period.
        grace: Duration,
        /// The tasks.
        names: Vec<&'static str>,
    },
}

/// The tasks of a process.
#[derive(Debug)]
pub struct Tasks {
    stop: CancellationToken,
    set: JoinSet<Result<(), AnyError>>,
    names: HashMap<Id, &'static str>,
}

impl Tasks {
    /// No tasks yet. `stop` asks all of them to end.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            set: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// Starts a task, in a span of its name. It must end soon after `stop`,
    /// and not before.
    pub fn spawn<F, E>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<AnyError> + 'static,
    {
        let span = tracing::info_span!("task", name);
        let task = async move { task.await.map_err(Into::into) };
        let handle = self.set.spawn(task.instrument(span));
        self.names.insert(handle.id(), name);
    }

    /// Waits for `stop` or for a task to end, then for the rest, at most
    /// `grace`. The first thing that went wrong is the answer.
    pub async fn run(mut self, grace: Duration) -> Result<(), TaskError> {
        let mut first = tokio::select! {
            biased;
            () = self.stop.cancelled() => Ok(()),
            Some(ended) = self.set.join_next_with_id() => {
                let (name, outcome) = self.outcome(ended);
                outcome.and(Err(TaskError::Ended { name }))
            }
        };
        self.stop.cancel();
        let in_time = tokio::time::timeout(grace, async {
            while let Some(ended) = self.set.join_next_with_id().await {
                let (_, outcome) = self.outcome(ended);
                if first.is_ok() {
                    first = outcome;
                }
            }
        });
        if in_time.await.is_err() && first.is_ok() {
            let mut names: Vec<_> = self.names.into_values().collect();
            names.sort_unstable();
            first = Err(TaskError::Late { grace, names });
        }
        first
    }

    fn outcome(
        &mut self,
        ended: Result<(Id, Result<(), AnyError>), JoinError>,
    ) -> (&'static str, Result<(), TaskError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or("unknown");
        let outcome = match ended {
            Ok((_, Ok(()))) => Ok(()),
            Ok((_, Err(source))) => Err(TaskError::Failed { name, source }),
            Err(_) => Err(TaskError::Panicked { name }),
        };
        (name, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn tasks() -> (Tasks, CancellationToken) {
        let stop = CancellationToken::new();
        (Tasks::new(stop.clone()), stop)
    }

    async fn until(stop: CancellationToken) -> Result<(), AnyError> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_waits_for_tasks_that_end_in_time() {
        let (mut tasks, stop) = tasks();
        let inner = stop.clone();
        tasks.spawn("slow", async move {
            inner.cancelled().await;
            tokio::time::sleep(GRACE - Duration::from_secs(1)).await;
            Ok::<_, AnyError>(())
        });
        stop.cancel();
        tasks.run(GRACE).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_shutdown_is_bounded_and_names_who_is_late() {
        let (mut tasks, stop) = tasks();
        tasks.spawn("quick", until(stop.clone()));
        tasks.spawn("stuck", std::future::pending::<Result<(), AnyError>>());
        stop.cancel();
        let begun = tokio::time::Instant::now();
        let error = tasks.run(GRACE).await.unwrap_err();
        assert!(begun.elapsed() <= GRACE + Duration::from_millis(10));
        assert_eq!(
            error.to_string(),
            "not done after the grace period of 10s: stuck"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_dies_takes_the_others_down() {
        for (how, expected) in [
            ("ends", "the task \"mortal\" ended unasked"),
            ("fails", "the task \"mortal\" failed"),
            ("panics", "the task \"mortal\" panicked"),
        ] {
            let (mut tasks, stop) = tasks();
            tasks.spawn("other", until(stop.clone()));
            tasks.spawn("mortal", async move {
                match how {
                    "ends" => Ok(()),
                    "fails" => Err("disk on fire"),
                    _ => panic!("as asked"),
                }
            });
            let error = tasks.run(GRACE).await.unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert!(stop.is_cancelled());
        }
    }
}
