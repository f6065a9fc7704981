//! Instances that come and go, all the time.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::instances::ChurnedInstance;
use crate::registry::FactRegistry;

/// How fast it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChurnPace {
    /// No change is under way or comes.
    Still,
    /// A few changes a second; an instance stays away for longer than a second
    /// now and then, so that a stale answer is seen.
    Normal,
    /// As fast as etcd takes them.
    Fast,
}

/// The task that makes the changes.
pub struct Churn {
    pace: watch::Sender<ChurnPace>,
    seen: watch::Receiver<(ChurnPace, u64)>,
    _task: Arc<JoinHandle<Result<()>>>,
}

impl Churn {
    /// Starts it, still. All of these instances must be registered.
    pub fn start(registry: FactRegistry, instances: Vec<ChurnedInstance>, seed: u64) -> Self {
        let (pace, wished) = watch::channel(ChurnPace::Still);
        let (now, seen) = watch::channel((ChurnPace::Still, 0));
        let task = tokio::spawn(run(registry, instances, seed, wished, now));
        Self {
            pace,
            seen,
            _task: Arc::new(task),
        }
    }

    /// Changes the pace, without waiting for a change that is under way.
    pub fn set(&self, pace: ChurnPace) {
        self.pace.send_replace(pace);
    }

    /// Waits until no change is under way; answers how many there have been.
    pub async fn still(&mut self) -> Result<u64> {
        self.set(ChurnPace::Still);
        let seen = self
            .seen
            .wait_for(|(pace, _)| *pace == ChurnPace::Still)
            .await?;
        Ok(seen.1)
    }
}

async fn run(
    registry: FactRegistry,
    instances: Vec<ChurnedInstance>,
    seed: u64,
    mut wished: watch::Receiver<ChurnPace>,
    now: watch::Sender<(ChurnPace, u64)>,
) -> Result<()> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut is_there = vec![true; instances.len()];
    let mut changes = 0;
    loop {
        let pace = *wished.borrow_and_update();
        now.send_replace((pace, changes));
        let pause = match pace {
            ChurnPace::Still => {
                wished.changed().await?;
                continue;
            }
            ChurnPace::Normal => Duration::from_millis(random.random_range(20..250)),
            ChurnPace::Fast => Duration::from_millis(1),
        };
        let at = random.random_range(0..instances.len());
        if is_there[at] {
            registry.deregister(&instances[at]).await;
        } else {
            registry.register(&instances[at]).await;
        }
        is_there[at] = !is_there[at];
        changes += 1;
        tokio::select! {
            changed = wished.changed() => changed?,
            () = sleep(pause) => {}
        }
    }
}
