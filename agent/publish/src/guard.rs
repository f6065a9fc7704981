//! The guard against a listing that would empty Redis. Deletions that come as
//! events are real; a listing that lacks most of what Redis holds may be a
//! misreading (another cluster, a prefix that was moved, a half restore).

use std::time::Duration;

use pointsman_mirror::table::Held;
use pointsman_model::Confirmation;
use tokio::time::Instant;
use tracing::info;

use super::{LOOK_AGAIN, Phase, Publisher, Side, Turn};
use crate::sink::{Found, Meta};

/// Fewer removals than this are never held back.
const FEW: usize = 10;
/// Whether so many removals are more than one believes without a word.
pub(super) fn is_too_much(lacking: usize, held: usize) -> bool {
    lacking >= FEW && lacking * 2 > held
}

/// How often Redis is counted anew while a listing is held back.
const RECOUNT: Duration = Duration::from_secs(5);

impl Publisher {
    /// Holds while the table lacks more than half of what Redis holds, until
    /// it no longer does or an operator confirms.
    pub(super) async fn guard(&mut self) -> Result<(), Turn> {
        let Found::Table(meta) = self.meta().await else {
            return Ok(());
        };
        loop {
            let (held, lacking) = self.count_lacking().await;
            if !is_too_much(lacking, held) {
                self.set_phase(Phase::Rebuilding, None);
                return Ok(());
            }
            self.hold(format!(
                "a listing of etcd lacks {lacking} of the {held} records that redis holds at \
                 revision {}: if that is right, run: pointsman confirm",
                meta.rev
            ));
            let recount = Instant::now() + RECOUNT;
            while Instant::now() < recount {
                if self.confirmed(&meta).await {
                    info!(lacking, held, "an operator confirmed the removal");
                    self.set_phase(Phase::Rebuilding, None);
                    return Ok(());
                }
                if self.meta().await != Found::Table(meta.clone()) {
                    return Err(Turn::ListAgain("redis has changed meanwhile".into()));
                }
                self.follow_until(Instant::now() + LOOK_AGAIN).await?;
            }
        }
    }

    /// How many records Redis holds, and how many of them the table lacks.
    async fn count_lacking(&mut self) -> (usize, usize) {
        let sink = std::sync::Arc::clone(&self.sink);
        let (mut held, mut lacking) = (0, 0);
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let page = self.answered(|| sink.scan(at)).await;
            cursor = page.next;
            let table = self.read();
            for element in &page.elements {
                let weight = element.kind().declaration().weight;
                held += weight;
                if table.held(element) == Held::Nothing {
                    lacking += weight;
                }
            }
        }
        (held, lacking)
    }

    async fn confirmed(&mut self, meta: &Meta) -> bool {
        let read = self.store.get("confirm").await;
        let Ok((Some(kv), _)) = self.heard(Side::Store, read) else {
            return false;
        };
        Confirmation::from_value(&kv.value)
            .is_some_and(|word| word.epoch == meta.epoch && word.rev == meta.rev)
    }

    async fn meta(&mut self) -> Found {
        let sink = std::sync::Arc::clone(&self.sink);
        self.answered(|| sink.meta()).await
    }
}
