//! Holding one instance in the registry, as an explicit state machine.
//!
//! ```text
//!               granted, put                    gone, or the lease is
//!   Register ──────────────▶ Watch (held) ───────────────────────────▶ Register
//!      ▲  │                    │  ▲  │
//!      │  │ another one        │  │  │ broken off, silent
//!      │  │ is there           │  │  ▼
//!      │  │      overwritten   │  └─ Check ◀─┐ failed: pause
//!      │  ▼   ◀────────────────┘      │  └──┘
//!      └─ Watch (yielded) ◀───────────┘
//!  gone
//! ```
//!
//! The youngest writer of a key has it. The first registration overwrites what
//! is there (most likely an earlier life of the same instance); afterwards a
//! key that somebody else has written is left to them, until it is gone. Two
//! processes with one id would otherwise overwrite each other for ever.

use std::fmt;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use pointsman_model::Chain;
use pointsman_store::pauses::Pauses;
use pointsman_store::{
    Condition, Event, KeyValue, LeaseId, Revision, Store, StoreError, Watch, WatchItem, Written,
};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is held, and how.
#[derive(Clone, Debug)]
pub struct Holding {
    /// etcd.
    pub store: Arc<dyn Store>,
    /// The key, as the store takes it.
    pub key: String,
    /// The value.
    pub value: String,
    /// Time to live of the lease, in whole seconds.
    pub ttl: Duration,
    /// How long one call to the store may take.
    pub patience: Duration,
}

/// Where the registration stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    /// Not there (yet, or any more).
    #[default]
    Missing,
    /// There, by this revision.
    Held(Revision),
    /// Somebody else has written the key, at this revision.
    Yielded(Revision),
    /// Ended, as asked.
    Ended,
}

/// The state machine. It ends by its token, and deregisters then.
pub struct Holder {
    holding: Holding,
    phase: HoldPhase,
    lease: Option<LeaseId>,
    /// Nothing was put yet: the first registration overwrites.
    first: bool,
    renew_at: Instant,
    retry_at: Instant,
    pauses: Pauses,
    /// A failure has been logged, the recovery from it has not.
    complained: bool,
    status: watch::Sender<Registration>,
}

enum HoldPhase {
    Register,
    Check,
    Watch { watch: Box<dyn Watch>, asked: bool },
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Holder");
        shown
            .field("key", &self.holding.key)
            .field("lease", &self.lease);
        shown
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}

/// What happened to the key while it was watched.
enum LeaseNews {
    Nothing,
    RenewalDue,
    Gone,
    Written(KeyValue),
    Broken(StoreError),
}

impl Holder {
    /// Nothing happens before [`Holder::run`].
    pub fn new(holding: Holding) -> (Self, watch::Receiver<Registration>) {
        let (status, receiver) = watch::channel(Registration::Missing);
        let now = Instant::now();
        let holder = Self {
            holding,
            phase: HoldPhase::Register,
            lease: None,
            first: true,
            renew_at: now,
            retry_at: now,
            pauses: Pauses::new(FIRST_PAUSE, LONGEST_PAUSE),
            complained: false,
            status,
        };
        (holder, receiver)
    }

    /// Holds the registration until `stop`, then ends it at once.
    pub async fn run(mut self, stop: CancellationToken) {
        while stop.run_until_cancelled(self.step()).await.is_some() {}
        self.deregister().await;
        self.set(Registration::Ended);
    }

    async fn step(&mut self) {
        let outcome = match &mut self.phase {
            HoldPhase::Register => {
                sleep_until(self.retry_at).await;
                self.register().await
            }
            HoldPhase::Check => {
                // The lease does not wait for the watch.
                if self.held() && self.renew_at < self.retry_at {
                    sleep_until(self.renew_at).await;
                    self.renew().await
                } else {
                    sleep_until(self.retry_at).await;
                    // A watch that opens may break off at once: no success yet.
                    match self.check().await {
                        Ok(()) => return,
                        error => error,
                    }
                }
            }
            HoldPhase::Watch { .. } => self.follow().await,
        };
        match outcome {
            Ok(()) => {
                self.pauses.reset();
                if std::mem::take(&mut self.complained) {
                    info!("etcd answers again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    warn!(error = %Chain(&error), "etcd does not do as asked; trying on");
                }
                self.retry_at = Instant::now() + self.pauses.following();
            }
        }
    }

    /// Puts the key on a lease.
    async fn register(&mut self) -> Result<(), StoreError> {
        let Holding {
            store,
            key,
            value,
            ttl,
            patience,
        } = self.holding.clone();
        // A lease that is left from a failed try may be near its end.
        let (lease, renew_at) = match self.lease {
            Some(lease) => (lease, Instant::now()),
            None => {
                let lease = within(patience, store.lease_grant(ttl.as_secs())).await?;
                (lease, Instant::now() + ttl / 3)
            }
        };
        (self.lease, self.renew_at) = (Some(lease), renew_at);
        let put = |condition| {
            let put = store.put(&key, value.as_bytes(), lease, condition);
            within(patience, put)
        };
        let mut answer = put(Condition::Absent).await;
        if self.first
            && let Ok(Written::Conflict(Some(kv))) = &answer
            && kv.lease != lease
        {
            // An earlier life's. Overwritten, it would stay as old as it is,
            // and others could have its address.
            within(patience, store.delete(&key, Condition::Present)).await?;
            answer = put(Condition::Always).await;
        }
        match answer {
            Ok(Written::Done(revision)) => {
                info!(revision, lease = format_args!("{lease:x}"), "registered");
                self.first = false;
                self.set(Registration::Held(revision));
                self.watch_from(revision).await
            }
            Ok(Written::Conflict(Some(kv))) => {
                let revision = kv.mod_revision;
                self.judge(Some(&kv));
                self.watch_from(revision).await
            }
            Ok(Written::Conflict(None)) => {
                Err(StoreError::Unavailable("the key came and went".into()))
            }
            Err(error) => {
                // What was not answered may have been done: the same lease
                // makes the next try the same write.
                if matches!(error, StoreError::NoLease(_)) {
                    self.lease = None;
                }
                Err(error)
            }
        }
    }

    /// Looks what stands under the key, and watches on from there.
    async fn check(&mut self) -> Result<(), StoreError> {
        let (kv, revision) = within(
            self.holding.patience,
            self.holding.store.get(&self.holding.key),
        )
        .await?;
        self.judge(kv.as_ref());
        if kv.is_none() {
            return Ok(());
        }
        self.watch_from(revision).await
    }

    async fn watch_from(&mut self, revision: Revision) -> Result<(), StoreError> {
        self.phase = HoldPhase::Check;
        let watch = within(
            self.holding.patience,
            self.holding.store.watch(revision + 1),
        )
        .await?;
        self.phase = HoldPhase::Watch {
            watch,
            asked: false,
        };
        Ok(())
    }

    async fn follow(&mut self) -> Result<(), StoreError> {
        let renew_at = self.held().then_some(self.renew_at);
        let renewal = async {
            match renew_at {
                Some(at) => sleep_until(at).await,
                None => pending().await,
            }
        };
        let HoldPhase::Watch { watch, asked } = &mut self.phase else {
            return Ok(());
        };
        let news = tokio::select! {
            item = watch.next() => news(item, &self.holding.key),
            () = renewal => LeaseNews::RenewalDue,
        };
        if !matches!(news, LeaseNews::RenewalDue) {
            *asked = false;
        }
        match news {
            LeaseNews::Nothing => Ok(()),
            LeaseNews::Gone => {
                self.judge(None);
                Ok(())
            }
            LeaseNews::Written(kv) => {
                self.judge(Some(&kv));
                Ok(())
            }
            LeaseNews::Broken(error) => {
                self.phase = HoldPhase::Check;
                Err(error)
            }
            LeaseNews::RenewalDue => {
                // A watch that says nothing between two renewals, asked, is
                // dead: without this a lost key could go unnoticed.
                let silent = std::mem::replace(asked, true);
                let dead = silent || watch.ping().await.is_err();
                self.renew().await?;
                if dead && matches!(self.phase, HoldPhase::Watch { .. }) {
                    self.phase = HoldPhase::Check;
                    self.retry_at = Instant::now();
                }
                Ok(())
            }
        }
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        let Some(lease) = self.lease else {
            return Ok(());
        };
        let renewed = within(self.holding.patience, self.holding.store.lease_renew(lease)).await;
        match renewed {
            Ok(_) => {
                self.renew_at = Instant::now() + self.holding.ttl / 3;
                Ok(())
            }
            Err(StoreError::NoLease(_)) => {
                self.judge(None);
                Ok(())
            }
            Err(error) => {
                let pause = self.pauses.following().min(self.holding.ttl / 3);
                self.renew_at = Instant::now() + pause;
                Err(error)
            }
        }
    }

    /// Draws the consequence of what stands under the key.
    fn judge(&mut self, kv: Option<&KeyValue>) {
        let before = *self.status.borrow();
        let ours = |kv: &KeyValue| {
            self.lease == Some(kv.lease) && kv.value == self.holding.value.as_bytes()
        };
        match kv {
            Some(kv) if ours(kv) => {
                self.first = false;
                self.set(Registration::Held(kv.mod_revision));
            }
            Some(kv) => {
                let revision = kv.mod_revision;
                if !matches!(before, Registration::Yielded(_)) {
                    let value = String::from_utf8_lossy(&kv.value);
                    warn!(%value, revision, "another writer has this id; standing by until it is gone");
                }
                // It carries no key any more, and ends by itself.
                self.lease = None;
                self.set(Registration::Yielded(revision));
            }
            None => {
                match before {
                    Registration::Held(_) => warn!("the registration is gone; registering again"),
                    Registration::Yielded(_) => info!("the other writer is gone; registering"),
                    Registration::Missing | Registration::Ended => {}
                }
                self.lease = None;
                self.set(Registration::Missing);
                self.phase = HoldPhase::Register;
                self.retry_at = Instant::now();
            }
        }
    }

    /// Revoking the lease takes the key with it, iff it still hangs on it.
    async fn deregister(&mut self) {
        let Some(lease) = self.lease.take() else {
            return;
        };
        match within(
            self.holding.patience,
            self.holding.store.lease_revoke(lease),
        )
        .await
        {
            Ok(()) => info!("deregistered"),
            Err(StoreError::NoLease(_)) => {}
            Err(error) => {
                let ttl = self.holding.ttl;
                warn!(error = %Chain(&error), ?ttl, "not deregistered; the lease ends by its ttl");
            }
        }
    }

    fn held(&self) -> bool {
        matches!(*self.status.borrow(), Registration::Held(_))
    }

    fn set(&self, now: Registration) {
        self.status.send_replace(now);
    }
}

async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    match timeout(patience, call).await {
        Ok(outcome) => outcome,
        Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
    }
}

/// What an item of the watch says about this key; the last word counts.
fn news(item: Result<Option<WatchItem>, StoreError>, key: &str) -> LeaseNews {
    let events = match item {
        Ok(Some(WatchItem::Events(events))) => events,
        Ok(Some(WatchItem::Alive)) => return LeaseNews::Nothing,
        Ok(None) => return LeaseNews::Broken(StoreError::Unavailable("the watch ended".into())),
        Err(error) => return LeaseNews::Broken(error),
    };
    let ours = events.into_iter().rev().find(|event| match event {
        Event::Put(kv) => kv.key == key,
        Event::Delete { key: gone, .. } => gone == key,
    });
    match ours {
        None => LeaseNews::Nothing,
        Some(Event::Put(kv)) => LeaseNews::Written(kv),
        Some(Event::Delete { .. }) => LeaseNews::Gone,
    }
}
