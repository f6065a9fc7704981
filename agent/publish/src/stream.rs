//! Following etcd: what the watch brings goes to Redis at once, or, while a
//! write is under way, with the next one.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pointsman_mirror::Progress;
use pointsman_model::Key;
use pointsman_store::pauses::Pauses;
use pointsman_store::{Event, Revision};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::queue::{Parcel, Queue};
use super::reconcile::Finding;
use super::{GLANCE, Phase, Publisher, STALLED, Side, Turn};
use crate::sink::{BatchOutcome, Found, SinkError};

/// In an idle cluster nobody sends a batch, and nobody would notice that
/// Redis was emptied: so it is looked at.
const PROBE: Duration = Duration::from_secs(1);

/// A call to Redis that is under way. There is never more than one.
type SinkCall = Pin<Box<dyn Future<Output = SinkAnswer> + Send>>;

enum SinkAnswer {
    Batch(Parcel, Duration, Result<BatchOutcome, SinkError>),
    Probe(Result<Found, SinkError>),
}

struct Stream {
    queue: Queue,
    call: Option<SinkCall>,
    /// A batch whose outcome is unknown, or that must wait.
    again: Option<Parcel>,
    /// Nothing is sent before then.
    not_before: Option<Instant>,
    pauses: Pauses,
    probe_due: bool,
    /// The last call was a probe.
    probed: bool,
    building: Option<Building>,
}

/// Another agent's rebuild, and since when it has stood where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Building {
    pub(super) claim: Revision,
    pub(super) next: u64,
    pub(super) since: Instant,
}

impl Building {
    /// Whether it has made no progress for too long, given where it is now.
    pub(super) fn stalled(seen: &mut Option<Self>, claim: Revision, next: u64) -> bool {
        match seen {
            Some(b) if b.claim == claim && b.next == next => b.since.elapsed() >= STALLED,
            _ => {
                *seen = Some(Self {
                    claim,
                    next,
                    since: Instant::now(),
                });
                false
            }
        }
    }
}

impl Publisher {
    /// Sends what waits in `queue` and what the mirror brings, until something
    /// does not fit.
    pub(super) async fn stream(&mut self, queue: Queue, shutdown: &CancellationToken) -> Turn {
        let phase = if self.mirror.is_watching() {
            Phase::Streaming
        } else {
            Phase::Connecting
        };
        self.status.set_phase(phase, None);
        let mut stream = Stream {
            queue,
            call: None,
            again: None,
            not_before: None,
            pauses: self.pauses(),
            probe_due: false,
            probed: false,
            building: None,
        };
        let turn = self.go_on(&mut stream, shutdown).await;
        self.bulk = stream.queue.take_bulk();
        turn
    }

    async fn go_on(&mut self, stream: &mut Stream, shutdown: &CancellationToken) -> Turn {
        let mut probe = interval(PROBE);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.show(stream);
        loop {
            if stream.queue.is_bulk() && stream.call.is_none() && stream.again.is_none() {
                return look_again("what has changed is too much for batches".into());
            }
            self.send_next(stream);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    if let Some(call) = stream.call.take() {
                        debug!("waiting for the write that is under way");
                        call.await;
                    }
                    return Turn::Stop;
                }
                answer = answered(&mut stream.call) => {
                    stream.call = None;
                    if let Err(turn) = self.take_answer(stream, answer) {
                        return turn;
                    }
                    self.show(stream);
                }
                () = until(stream.not_before) => stream.not_before = None,
                _ = probe.tick() => stream.probe_due = true,
                progress = self.mirror.step() => {
                    if let Err(turn) = self.take_step(stream, progress) {
                        return turn;
                    }
                }
                Some(finding) = self.findings.recv() => {
                    if let Err(turn) = self.take_finding(stream, finding) {
                        return turn;
                    }
                }
            }
        }
    }

    fn send_next(&self, stream: &mut Stream) {
        if stream.call.is_some() || stream.not_before.is_some() {
            return;
        }
        let sink = Arc::clone(&self.sink);
        // They take turns: if each probe takes a second, another one is always
        // due, and while changes pour in, only probes tell edges that we are here.
        let probe_first = stream.building.is_some() || (stream.probe_due && !stream.probed);
        let parcel = match probe_first {
            false => stream.again.take().or_else(|| stream.queue.take()),
            true => None,
        };
        if let Some(parcel) = parcel {
            stream.probed = false;
            stream.call = Some(Box::pin(async move {
                let begun = Instant::now();
                let outcome = sink.batch(&parcel.batch).await;
                SinkAnswer::Batch(parcel, begun.elapsed(), outcome)
            }));
        } else if std::mem::take(&mut stream.probe_due) || stream.building.is_some() {
            stream.probed = true;
            stream.call = Some(Box::pin(
                async move { SinkAnswer::Probe(sink.probe().await) },
            ));
        }
    }

    fn take_answer(&mut self, stream: &mut Stream, answer: SinkAnswer) -> Result<(), Turn> {
        let failed = match answer {
            SinkAnswer::Batch(parcel, took, answer) => {
                match self.status.heard(Side::Sink, answer) {
                    Ok(outcome) => {
                        self.note_batch(&parcel, took, &outcome);
                        self.take_outcome(stream, parcel, outcome)?;
                        false
                    }
                    Err(()) => {
                        stream.again = Some(parcel);
                        true
                    }
                }
            }
            SinkAnswer::Probe(answer) => match self.status.heard(Side::Sink, answer) {
                Ok(found) => {
                    self.take_probe(stream, found)?;
                    false
                }
                Err(()) => true,
            },
        };
        if failed {
            stream.not_before = Some(Instant::now() + stream.pauses.following());
        } else {
            stream.pauses.reset();
        }
        Ok(())
    }

    fn take_outcome(
        &mut self,
        stream: &mut Stream,
        parcel: Parcel,
        outcome: BatchOutcome,
    ) -> Result<(), Turn> {
        match outcome {
            BatchOutcome::Applied => Ok(()),
            BatchOutcome::Stale(revision) => {
                stream.queue.reached(revision);
                Ok(())
            }
            BatchOutcome::Building => {
                stream.again = Some(parcel);
                Building::stalled(&mut stream.building, 0, 0);
                Ok(())
            }
            BatchOutcome::Gap(revision) => self.went_back(stream, revision),
            BatchOutcome::OtherEpoch(epoch) => {
                Err(look_again(format!("redis holds epoch {epoch}")))
            }
            BatchOutcome::OtherFormat(format) => {
                Err(look_again(format!("redis holds format {format}")))
            }
            BatchOutcome::Broken(what) => {
                self.broken = true;
                Err(look_again(format!(
                    "redis holds something of a wrong type: {what}"
                )))
            }
        }
    }

    fn take_step(&mut self, stream: &mut Stream, progress: Progress) -> Result<(), Turn> {
        for (revision, changes) in self.take_progress(progress)? {
            stream.queue.push(revision, changes);
        }
        self.check_name()
    }

    fn note_batch(&self, parcel: &Parcel, took: Duration, outcome: &BatchOutcome) {
        let word = match outcome {
            BatchOutcome::Applied => "applied",
            BatchOutcome::Stale(_) => "stale",
            BatchOutcome::Gap(_) => "gap",
            BatchOutcome::OtherEpoch(_) => "other_epoch",
            BatchOutcome::OtherFormat(_) => "other_format",
            BatchOutcome::Building => "building",
            BatchOutcome::Broken(_) => "broken",
        };
        self.observer.batch(word, parcel.batch.changes.len(), took);
        if matches!(outcome, BatchOutcome::Applied | BatchOutcome::Stale(_)) {
            parcel
                .since
                .iter()
                .for_each(|since| self.observer.applied(since.elapsed()));
        }
    }

    fn take_probe(&mut self, stream: &mut Stream, found: Found) -> Result<(), Turn> {
        let meta = match found {
            Found::Table(meta) => meta,
            Found::Nothing => return Err(look_again("redis was emptied".into())),
            Found::Broken(why) => return Err(look_again(why)),
        };
        if meta.epoch != stream.queue.epoch() || meta.format != self.sink.format() {
            let (epoch, format) = (meta.epoch, meta.format);
            return Err(look_again(format!(
                "redis holds epoch {epoch}, format {format}"
            )));
        }
        if !meta.ready {
            if Building::stalled(&mut stream.building, meta.claim, meta.next) {
                return Err(look_again(
                    "another agent's rebuild makes no progress".into(),
                ));
            }
            stream.not_before = Some(Instant::now() + GLANCE);
            return Ok(());
        }
        stream.building = None;
        // A batch whose outcome is unknown tells by itself where Redis is.
        if stream.again.is_some() {
            return Ok(());
        }
        if meta.rev < stream.queue.at() {
            return self.went_back(stream, meta.rev);
        }
        stream.queue.reached(meta.rev);
        Ok(())
    }

    /// Redis is at an older revision than it was, as after a fail-over to a
    /// replica that lagged: it is brought up to date, if what has changed since
    /// is still known.
    fn went_back(&mut self, stream: &mut Stream, to: Revision) -> Result<(), Turn> {
        let at = stream.queue.at();
        let epoch = stream.queue.epoch().to_owned();
        let Some(queue) = self.queue_from(&epoch, to) else {
            return Err(look_again(format!(
                "redis went back from revision {at} to {to}"
            )));
        };
        info!(
            from = at,
            to,
            changes = queue.waiting(),
            "redis went back, bringing it up to date"
        );
        stream.again = None;
        stream.queue = queue;
        Ok(())
    }

    /// The queue for a Redis at `at`, with what has changed since; none if that
    /// is not known any more.
    pub(super) fn queue_from(&mut self, epoch: &str, at: Revision) -> Option<Queue> {
        let bulk = self.bulk.take();
        let waiting = bulk.and_then(|bulk| self.queue(epoch, at).with_bulk(bulk));
        if waiting.is_some() {
            return waiting;
        }
        let mut queue = self.queue(epoch, at);
        let table = self.read();
        let touched = table.touched_since(at)?;
        if touched.len() > self.limits.revision.changes {
            queue.push_names(table.revision(), touched.into_iter().cloned());
        } else {
            queue.push(table.revision(), table.changes(touched));
        }
        drop(table);
        Some(queue)
    }

    /// Puts right what the reconciler found to differ.
    fn take_finding(&mut self, stream: &mut Stream, finding: Finding) -> Result<(), Turn> {
        let changes = match finding {
            Finding::Doubt(what) => {
                // The rebuild begins with the guard.
                self.broken = true;
                return Err(Turn::ListAgain(format!("at rest, {what} would go")));
            }
            Finding::Element(element) => self.read().changes([&element]),
            Finding::Key { at, event } => {
                let key = match &event {
                    Event::Put(kv) => &kv.key,
                    Event::Delete { key, .. } => key,
                };
                let element = Key::parse(key).ok().and_then(|key| key.touches());
                let moved_on = {
                    let table = self.read();
                    match (&element, table.touched_since(at), &event) {
                        (Some(element), Some(touched), _) => touched.contains(element),
                        // The settings touch all. Others write all the time: it
                        // counts what was told of them, not where the table is.
                        (None, _, Event::Delete { .. }) => {
                            table.key_revision(key).is_none_or(|ours| ours > at)
                        }
                        _ => table.revision() != at,
                    }
                };
                if moved_on {
                    return Ok(());
                }
                warn!(%key, "etcd and the table differed");
                self.mirror.correct(&event)
            }
        };
        for change in &changes {
            warn!(element = %change.element, "putting an element right in redis");
        }
        self.observer.repaired(changes.len());
        let revision = self.read().revision();
        stream.queue.repair(revision, changes);
        Ok(())
    }

    /// Publishes how far Redis is.
    fn show(&self, stream: &Stream) {
        let under_way = stream.call.is_some() || stream.again.is_some();
        let seen = self.read().revision();
        self.status.show_queue(&stream.queue, under_way, seen);
    }
}

fn look_again(why: String) -> Turn {
    Turn::LookAgain(why)
}

async fn answered(call: &mut Option<SinkCall>) -> SinkAnswer {
    match call {
        Some(call) => call.await,
        None => pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
