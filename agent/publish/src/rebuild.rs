//! The rebuild: the whole table, written in pieces under a claim.
//!
//! The claim is a compare-and-set on etcd's key `rebuild`; its mod revision is
//! the token. Redis takes pieces of the newest token only, in their order, so
//! of several agents that rebuild at the same time one gets through.
//!
//! What changed but is too much for batches is written in the same way, but
//! nothing else is. Redis then must hold a whole table to begin with; if the
//! agent dies before the end, another one writes all of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesOrdered;
use pointsman_coordinate::claims;
use pointsman_mirror::table::{Held, Table};
use pointsman_model::{Change, Element};
use pointsman_store::Revision;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::stream::Building;
use super::{GLANCE, Phase, Publisher, Side, Turn};
use crate::sink::{Claim, Found, RebuildStep as Answer, SinkError};

/// Pieces sent whose answer is still to come.
const UNDER_WAY: usize = 2;

impl Publisher {
    /// Writes the table to Redis. Answers the revision that Redis is at then.
    pub(super) async fn rebuild(
        &mut self,
        epoch: &str,
        replaces: Option<String>,
    ) -> Result<Revision, Turn> {
        self.status.set_phase(Phase::Rebuilding, None);
        self.wait_for_others().await?;
        if replaces.is_none() {
            self.guard().await?;
        }
        let begun = Instant::now();
        let token = self.claim().await?;
        // The table then holds the claim itself, so the watch is alive.
        self.follow_to(token).await?;
        let revision = self.read().revision();
        let claim = Claim {
            epoch: epoch.to_owned(),
            replaces,
            token,
            revision,
            from: None,
        };

        let sink = Arc::clone(&self.sink);
        self.done(|| sink.begin(&claim)).await?;
        // First of all: what is written then need not be looked at once more.
        let piece = self.sweep(token, 0).await?;
        let (limit, mut last) = (self.limits.piece, None);
        let all = move |table: &Table| {
            let records = table.records(last.as_ref(), limit.changes);
            let changes = limit.take(records.into_iter());
            last = changes
                .last()
                .map(|change| change.element.clone())
                .or(last.take());
            changes
        };
        let (piece, records) = self.write(token, piece, all).await?;
        let pieces = self.restore_kept(token, piece).await?;
        self.done(|| sink.end(token, pieces, revision)).await?;
        self.note_rebuilt(&claim, records, begun);
        Ok(revision)
    }

    /// Writes what the bulk names, as it is now. Answers the revision that Redis
    /// is at then. The bulk is kept if that fails.
    pub(super) async fn write_bulk(&mut self, epoch: &str) -> Result<Revision, Turn> {
        self.status.set_phase(Phase::Rebuilding, None);
        self.wait_for_others().await?;
        if let Found::Table(meta) = self.meta().await
            && self.bulk.as_ref().is_none_or(|bulk| !bulk.covers(meta.rev))
        {
            return Err(not_now("another agent has written what changed"));
        }
        let begun = Instant::now();
        let token = self.claim().await?;
        // Meanwhile more may change, and is named.
        self.follow_to(token).await?;
        let Some(bulk) = self.bulk.take() else {
            return Err(not_now("nothing is left to write"));
        };
        let claim = Claim {
            epoch: epoch.to_owned(),
            replaces: None,
            token,
            revision: self.read().revision(),
            from: Some(bulk.from()),
        };
        let written = match bulk.all() {
            Some(names) => self.write_named(&claim, names).await,
            None => Err(not_now("too much has changed to be named")),
        };
        match written {
            Ok(records) => self.note_rebuilt(&claim, records, begun),
            Err(turn) => {
                self.bulk = Some(bulk);
                return Err(turn);
            }
        }
        Ok(claim.revision)
    }

    async fn write_named(
        &mut self,
        claim: &Claim,
        names: &BTreeSet<Element>,
    ) -> Result<usize, Turn> {
        let sink = Arc::clone(&self.sink);
        self.done(|| sink.begin(claim)).await?;
        // Instances first: who finds a new route in between finds its instances.
        let (limit, mut names) = (self.limits.piece, names.iter().rev());
        let named =
            move |table: &Table| limit.take(names.by_ref().flat_map(|name| table.changes([name])));
        let (pieces, records) = self.write(claim.token, 0, named).await?;
        self.done(|| sink.end(claim.token, pieces, claim.revision))
            .await?;
        Ok(records)
    }

    fn note_rebuilt(&self, claim: &Claim, records: usize, begun: Instant) {
        let took = begun.elapsed();
        self.observer.rebuilt(records, took);
        let Claim {
            revision,
            token,
            from,
            ..
        } = claim;
        info!(
            revision,
            token,
            from,
            records,
            ?took,
            "rebuilt the table in redis"
        );
    }

    /// Writes what `next` takes from the table, until that is nothing; answers
    /// the number of the next piece and that of the records. While Redis works
    /// at a piece, the next ones are made and sent.
    async fn write(
        &mut self,
        token: Revision,
        mut piece: u64,
        mut next: impl FnMut(&Table) -> Vec<Change> + Send,
    ) -> Result<(u64, usize), Turn> {
        let sink = Arc::clone(&self.sink);
        let mut under_way = FuturesOrdered::new();
        let mut records = 0;
        loop {
            while under_way.len() < UNDER_WAY {
                let changes = next(&self.read());
                if changes.is_empty() {
                    break;
                }
                records += changes.len();
                let (n, sink) = (piece, Arc::clone(&sink));
                under_way.push_back(async move {
                    let answer = sink.piece(token, n, &changes).await;
                    (n, changes, answer)
                });
                piece += 1;
            }
            let Some((n, changes, answer)) = under_way.next().await else {
                return Ok((piece, records));
            };
            // Lost, or refused since the one before it was lost: once more, in
            // its turn. One that is in already does no harm.
            if self.status.heard(Side::Sink, answer) != Ok(Answer::Done) {
                self.done(|| sink.piece(token, n, &changes)).await?;
            }
        }
    }

    /// Writes the last good records of frozen elements where Redis has lost
    /// them; where it has them, they stay as they are.
    async fn restore_kept(&mut self, token: Revision, mut piece: u64) -> Result<u64, Turn> {
        let sink = Arc::clone(&self.sink);
        let kept = self.read().kept();
        for kept in kept.chunks(self.limits.piece.changes) {
            let elements: Vec<_> = kept.iter().map(|change| change.element.clone()).collect();
            let reading = self.answered(|| sink.read(&elements)).await;
            let lost = kept
                .iter()
                .zip(reading.values)
                .filter(|(_, value)| value.is_none());
            let changes: Vec<_> = lost.map(|(change, _)| change.clone()).collect();
            if !changes.is_empty() {
                self.done(|| sink.piece(token, piece, &changes)).await?;
                piece += 1;
            }
        }
        Ok(piece)
    }

    /// Removes what Redis holds and the table does not know. No other agent
    /// writes meanwhile, so what is seen stays so.
    async fn sweep(&mut self, token: Revision, mut piece: u64) -> Result<u64, Turn> {
        let sink = Arc::clone(&self.sink);
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let page = self.answered(|| sink.scan(at)).await;
            cursor = page.next;
            let gone: Vec<_> = {
                let table = self.read();
                page.elements
                    .into_iter()
                    .filter(|element| table.held(element) == Held::Nothing)
                    .map(|element| Change {
                        element,
                        value: None,
                    })
                    .collect()
            };
            for changes in gone.chunks(self.limits.piece.changes) {
                self.done(|| sink.piece(token, piece, changes)).await?;
                piece += 1;
            }
        }
        Ok(piece)
    }

    /// Waits while another agent's rebuild makes progress.
    async fn wait_for_others(&mut self) -> Result<(), Turn> {
        let sink = Arc::clone(&self.sink);
        let mut building = None;
        loop {
            let found = self.answered(|| sink.meta()).await;
            match found {
                Found::Table(meta) if !meta.ready => {
                    if Building::stalled(&mut building, meta.claim, meta.next) {
                        info!(
                            claim = meta.claim,
                            "taking over a rebuild that stands still"
                        );
                        return Ok(());
                    }
                }
                // It came to its end: that is a table to follow.
                Found::Table(_) if building.is_some() => {
                    return Err(Turn::LookAgain("another agent has rebuilt redis".into()));
                }
                _ => return Ok(()),
            }
            self.follow_until(Instant::now() + GLANCE).await?;
        }
    }

    /// Takes the claim in etcd; answers its token.
    async fn claim(&mut self) -> Result<Revision, Turn> {
        let claimed = claims::rebuild(&*self.store, &self.agent).await;
        match self.status.heard(Side::Store, claimed) {
            Ok(Some(token)) if token <= self.read().revision() => {
                Err(Turn::ListAgain("etcd has gone back".into()))
            }
            Ok(Some(token)) => Ok(token),
            Ok(None) => Err(not_now("another agent claimed the rebuild")),
            Err(()) => Err(not_now("etcd does not answer")),
        }
    }

    /// Repeats a call until Redis answers.
    pub(super) async fn answered<T, F>(&mut self, call: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, SinkError>>,
    {
        let mut pauses = self.pauses();
        loop {
            let answer = call().await;
            if let Ok(value) = self.status.heard(Side::Sink, answer) {
                return value;
            }
            sleep(pauses.following()).await;
        }
    }

    /// Repeats a step of the rebuild until Redis answers; it may refuse.
    async fn done<F>(&mut self, call: impl Fn() -> F) -> Result<(), Turn>
    where
        F: Future<Output = Result<Answer, SinkError>>,
    {
        match self.answered(call).await {
            Answer::Done => Ok(()),
            Answer::Refused(why) => Err(not_now(&format!("redis refused the rebuild: {why}"))),
        }
    }
}

fn not_now(why: &str) -> Turn {
    Turn::LookAgain(why.to_owned())
}
