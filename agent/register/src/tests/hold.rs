//! Each transition of the state machine, on a paused clock.

use std::sync::atomic::Ordering;

use pointsman_memory::{Fake, Fault};
use pointsman_store::{Condition, Revision, Written};

use super::*;

/// A holder at work.
struct Running {
    status: watch::Receiver<Registration>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(store: Arc<dyn Store>) -> Self {
        let (holder, status) = Holder::new(holding(store));
        let stop = CancellationToken::new();
        let task = tokio::spawn(holder.run(stop.clone()));
        Self { status, stop, task }
    }

    /// Waits for a state, and answers how long that took.
    async fn until(&mut self, wanted: fn(&Registration) -> bool) -> Duration {
        let begun = tokio::time::Instant::now();
        let reached = timeout(Duration::from_secs(100), self.status.wait_for(wanted))
            .await
            .is_ok();
        assert!(reached, "last state seen: {:?}", self.status.borrow());
        begun.elapsed()
    }

    async fn held(&mut self) -> Revision {
        self.until(|s| matches!(s, Registration::Held(_))).await;
        match *self.status.borrow() {
            Registration::Held(revision) => revision,
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a registration by another revision than this one.
    async fn held_again(&mut self, before: Revision) -> Duration {
        let begun = tokio::time::Instant::now();
        loop {
            if self.held().await != before {
                return begun.elapsed();
            }
            self.status.changed().await.unwrap();
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[tokio::test(start_paused = true)]
async fn it_registers_at_once_renews_and_deregisters_at_once() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    assert_eq!(
        running.until(|s| *s != Registration::Missing).await,
        Duration::ZERO
    );
    let revision = running.held().await;
    let kv = stored(&store).await.unwrap();
    assert_eq!(
        (kv.mod_revision, kv.value.as_slice()),
        (revision, VALUE.as_bytes())
    );
    pass(TTL * 100).await;
    assert_eq!(
        stored(&store).await.unwrap().mod_revision,
        revision,
        "renewed, not written"
    );
    let begun = tokio::time::Instant::now();
    running.end().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert_eq!(stored(&store).await, None);
    assert_eq!(store.revision(), revision + 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_registration_takes_over_from_an_earlier_life() {
    let store = MemoryStore::new();
    let old = store.lease_grant(10).await.unwrap();
    store
        .put(KEY, b"10.0.0.4:80", old, Condition::Always)
        .await
        .unwrap();
    let mut running = Running::start(Arc::new(store.clone()));
    let revision = running.held().await;
    // A new key owns its address, though others were registered meanwhile.
    assert_eq!(stored(&store).await.unwrap().create_revision, revision);
    // The earlier life's lease ends; that does not touch the new one.
    pass(TTL * 3).await;
    let kv = stored(&store).await.unwrap();
    assert_eq!(
        (kv.mod_revision, kv.value.as_slice()),
        (revision, VALUE.as_bytes())
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_deleted_is_put_again_at_once() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    let revision = running.held().await;
    store.delete(KEY, Condition::Present).await.unwrap();
    assert_eq!(running.held_again(revision).await, Duration::ZERO);
    running.end().await;
    assert_eq!(stored(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_lost_is_replaced_at_once() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    let revision = running.held().await;
    store.expire(stored(&store).await.unwrap().lease);
    assert_eq!(running.held_again(revision).await, Duration::ZERO);
    pass(TTL * 3).await;
    assert!(stored(&store).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_is_away_at_the_start_is_waited_for() {
    let store = MemoryStore::new();
    store.set_down(true);
    let mut running = Running::start(Arc::new(store.clone()));
    pass(Duration::from_secs(3600)).await;
    assert_eq!(*running.status.borrow(), Registration::Missing);
    store.set_down(false);
    let took = running.until(|s| matches!(s, Registration::Held(_))).await;
    assert!(took <= Duration::from_secs(2), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_of_etcd_changes_nothing() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    let revision = running.held().await;
    for _ in 0..20 {
        pass(Duration::from_millis(2700)).await;
        store.set_down(true);
        pass(Duration::from_secs(4)).await;
        store.set_down(false);
    }
    assert_eq!(stored(&store).await.unwrap().mod_revision, revision);
    assert_eq!(running.held().await, revision);
}

#[tokio::test(start_paused = true)]
async fn after_a_long_absence_of_etcd_it_registers_again() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    let revision = running.held().await;
    store.set_down(true);
    pass(TTL * 10).await;
    store.set_down(false);
    let took = running.held_again(revision).await;
    assert!(took <= Duration::from_secs(2), "{took:?}");
    pass(TTL * 3).await;
    assert!(stored(&store).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_was_wiped_gets_the_instance_again() {
    let store = MemoryStore::new();
    store.commit(&[("routes/a.example", Some("{}"))]);
    let mut running = Running::start(Arc::new(store.clone()));
    running.held().await;
    store.wipe();
    pass(Duration::from_secs(4)).await;
    assert!(stored(&store).await.is_some());
    pass(TTL * 3).await;
    assert!(stored(&store).await.is_some(), "and its lease is renewed");
}

#[tokio::test(start_paused = true)]
async fn another_writer_is_left_alone_until_it_is_gone() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    running.held().await;
    let put = store
        .put(KEY, b"10.0.0.9:80", 0, Condition::Always)
        .await
        .unwrap();
    let Written::Done(theirs) = put else {
        panic!("{put:?}")
    };
    running
        .until(|s| matches!(s, Registration::Yielded(_)))
        .await;
    pass(TTL * 10).await;
    assert_eq!(store.revision(), theirs, "nobody overwrites anybody");
    // They may change their mind, and the watch may break off.
    let put = store
        .put(KEY, b"10.0.0.9:81", 0, Condition::Always)
        .await
        .unwrap();
    let Written::Done(theirs) = put else {
        panic!("{put:?}")
    };
    store.break_watches();
    pass(TTL * 10).await;
    assert_eq!(store.revision(), theirs);
    store.delete(KEY, Condition::Present).await.unwrap();
    assert_eq!(running.held_again(0).await, Duration::ZERO);
    assert_eq!(stored(&store).await.unwrap().value, VALUE.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn another_writer_who_was_quicker_is_not_overwritten() {
    let fake = Arc::new(Fake::new(Fault::TakesNoValue));
    fake.faulty.store(false, Ordering::Relaxed);
    let mut running = Running::start(fake.clone());
    running.held().await;
    // The key goes, and while it cannot be put, somebody else puts it.
    fake.faulty.store(true, Ordering::Relaxed);
    fake.inner.delete(KEY, Condition::Present).await.unwrap();
    running.until(|s| *s == Registration::Missing).await;
    let theirs = fake.inner.commit(&[(KEY, Some("10.0.0.9:80"))]);
    fake.faulty.store(false, Ordering::Relaxed);
    running.until(|s| *s != Registration::Missing).await;
    assert_eq!(*running.status.borrow(), Registration::Yielded(theirs));
    assert_eq!(fake.inner.revision(), theirs);
}

#[tokio::test(start_paused = true)]
async fn of_two_with_one_id_the_younger_has_it_and_the_older_follows() {
    let store = MemoryStore::new();
    let mut older = Running::start(Arc::new(store.clone()));
    older.held().await;
    let mut younger = Running::start(Arc::new(store.clone()));
    let revision = younger.held().await;
    older.until(|s| matches!(s, Registration::Yielded(_))).await;
    pass(TTL * 10).await;
    assert_eq!(store.revision(), revision, "they do not fight");
    younger.end().await;
    older.until(|s| matches!(s, Registration::Held(_))).await;
    // One that has yielded does not take the other's key with it.
    let mut third = Running::start(Arc::new(store.clone()));
    let revision = third.held().await;
    older.until(|s| matches!(s, Registration::Yielded(_))).await;
    older.end().await;
    assert_eq!(stored(&store).await.unwrap().mod_revision, revision);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_broke_off_is_opened_again_where_it_was() {
    let store = MemoryStore::new();
    let mut running = Running::start(Arc::new(store.clone()));
    let mut revision = running.held().await;
    for _ in 0..5 {
        // Broken off and deleted at the same moment: nothing may be missed.
        store.break_watches();
        store.delete(KEY, Condition::Present).await.unwrap();
        let took = running.held_again(revision).await;
        assert!(took <= Duration::from_secs(2), "{took:?}");
        revision = running.held().await;
    }
    for n in 0..50 {
        store.break_watches();
        store.commit(&[("apps/other", Some(&n.to_string()))]);
        store.compact(store.revision());
        pass(Duration::from_secs(1)).await;
    }
    assert_eq!(running.held().await, revision);
    assert_eq!(stored(&store).await.unwrap().mod_revision, revision);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_says_nothing_does_not_hide_a_lost_key() {
    let fake = Arc::new(Fake::new(Fault::Deaf));
    let mut running = Running::start(fake.clone());
    let revision = running.held().await;
    fake.inner.delete(KEY, Condition::Present).await.unwrap();
    let took = running.held_again(revision).await;
    assert!(took <= TTL, "noticed by the second renewal: {took:?}");
    let revision = running.held().await;
    fake.inner.expire(stored(&fake.inner).await.unwrap().lease);
    let took = running.held_again(revision).await;
    assert!(took < TTL / 2, "noticed by the first renewal: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_cannot_be_opened_does_not_keep_the_lease_from_being_renewed() {
    let fake = Arc::new(Fake::new(Fault::Blind));
    let mut running = Running::start(fake.clone());
    let revision = running.held().await;
    pass(TTL * 3).await;
    assert_eq!(stored(&fake.inner).await.unwrap().mod_revision, revision);
}

#[tokio::test(start_paused = true)]
async fn a_registration_whose_answer_was_lost_is_its_own() {
    let fake = Arc::new(Fake::new(Fault::LosesAnswers));
    let mut running = Running::start(fake.clone());
    pass(Duration::from_secs(1)).await;
    assert!(stored(&fake.inner).await.is_some());
    fake.faulty.store(false, Ordering::Relaxed);
    let revision = running.held().await;
    // The same later on, when only an absent key may be put.
    fake.faulty.store(true, Ordering::Relaxed);
    fake.inner.delete(KEY, Condition::Present).await.unwrap();
    pass(Duration::from_secs(1)).await;
    fake.faulty.store(false, Ordering::Relaxed);
    running.held_again(revision).await;
    pass(TTL * 3).await;
    assert!(stored(&fake.inner).await.is_some());
    running.end().await;
    assert_eq!(stored(&fake.inner).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_old_when_the_key_is_put_is_renewed_in_time() {
    let fake = Arc::new(Fake::new(Fault::TakesNoValue));
    let mut running = Running::start(fake.clone());
    pass(TTL - Duration::from_secs(2)).await;
    fake.faulty.store(false, Ordering::Relaxed);
    let revision = running.held().await;
    pass(TTL * 3).await;
    assert_eq!(stored(&fake.inner).await.unwrap().mod_revision, revision);
}

#[tokio::test(start_paused = true)]
async fn the_end_is_bounded_when_etcd_does_not_answer() {
    let fake = Arc::new(Fake::new(Fault::Hangs));
    fake.faulty.store(false, Ordering::Relaxed);
    let mut running = Running::start(fake.clone());
    running.held().await;
    fake.faulty.store(true, Ordering::Relaxed);
    pass(Duration::from_secs(100)).await;
    let begun = tokio::time::Instant::now();
    running.end().await;
    assert!(
        begun.elapsed() <= PATIENCE + Duration::from_millis(1),
        "{:?}",
        begun.elapsed()
    );
}
