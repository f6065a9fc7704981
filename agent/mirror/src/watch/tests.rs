use std::sync::Arc;

use async_trait::async_trait;
use pointsman_memory::{Fake, Fault, MemoryStore};
use pointsman_store::{Compare, Condition, Lease, LeaseId, Op, Page, Written};
use tokio::time::timeout;

use super::*;

const EPOCH: &str = "e1";

async fn registry() -> Arc<MemoryStore> {
    let store = MemoryStore::new();
    store
        .put("epoch", EPOCH.as_bytes(), 0, Condition::Absent)
        .await
        .unwrap();
    Arc::new(store)
}

fn watcher(store: &Arc<MemoryStore>, at: Option<Revision>) -> Watcher {
    Watcher::new(Arc::clone(store) as Arc<dyn Store>, EPOCH, at)
}

/// Steps up to `Watching`; answers the listed keys and the revision.
async fn listed(watcher: &mut Watcher) -> (Vec<String>, Revision) {
    let (mut keys, mut at) = (Vec::new(), 0);
    loop {
        match watcher.step().await {
            WatcherStep::Page(items) => keys.extend(items.into_iter().map(|kv| kv.key)),
            WatcherStep::Listed(revision) => at = revision,
            WatcherStep::Watching => return (keys, at),
            other => panic!("unexpected {other:?}"),
        }
    }
}

async fn events(watcher: &mut Watcher) -> Vec<(Revision, Vec<String>)> {
    loop {
        match watcher.step().await {
            WatcherStep::Events(revisions) => return named(revisions),
            WatcherStep::Failed(_) | WatcherStep::Watching => {}
            other => panic!("unexpected {other:?}"),
        }
    }
}

fn named(revisions: Vec<(Revision, Vec<Event>)>) -> Vec<(Revision, Vec<String>)> {
    let name = |event: Event| match event {
        Event::Put(kv) => format!("+{}", kv.key),
        Event::Delete { key, .. } => format!("-{key}"),
    };
    revisions
        .into_iter()
        .map(|(revision, events)| (revision, events.into_iter().map(name).collect()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn lists_what_is_there_and_then_watches_from_the_next_revision() {
    let store = registry().await;
    let at = store.commit(&[("apps/a", Some("{}"))]);
    let mut watcher = watcher(&store, None);
    let (keys, revision) = listed(&mut watcher).await;
    assert_eq!(
        (keys.as_slice(), revision),
        (&["apps/a".into(), "epoch".into()][..], at)
    );
    store.commit(&[("apps/b", Some("{}")), ("apps/a", None)]);
    assert_eq!(
        events(&mut watcher).await,
        [(at + 1, vec!["+apps/b".into(), "-apps/a".into()])]
    );
}

#[tokio::test(start_paused = true)]
async fn lists_at_an_older_revision_and_catches_up_by_events() {
    let store = registry().await;
    let at = store.commit(&[("apps/a", Some("{}"))]);
    store.commit(&[("apps/b", Some("{}"))]);
    store.commit(&[("apps/a", None)]);
    let mut watcher = watcher(&store, Some(at));
    let (keys, revision) = listed(&mut watcher).await;
    assert_eq!(
        (keys.as_slice(), revision),
        (&["apps/a".into(), "epoch".into()][..], at)
    );
    assert_eq!(
        events(&mut watcher).await,
        [
            (at + 1, vec!["+apps/b".into()]),
            (at + 2, vec!["-apps/a".into()])
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn pins_all_pages_of_a_listing_to_the_revision_of_the_first() {
    let store = registry().await;
    let keys: Vec<_> = (0..FIRST_PAGE + 5)
        .map(|i| format!("apps/{i:06}"))
        .collect();
    let writes: Vec<_> = keys.iter().map(|key| (key.as_str(), Some("{}"))).collect();
    let at = store.commit(&writes);
    let mut watcher = watcher(&store, None);
    let WatcherStep::Page(first) = watcher.step().await else {
        panic!("no page")
    };
    assert_eq!(first.len(), FIRST_PAGE);
    store.commit(&[("apps/000001", None), ("zones/late", Some("x"))]);
    let (rest, revision) = listed(&mut watcher).await;
    assert_eq!(
        (rest.len(), revision),
        (6, at),
        "five apps and the epoch, none of them late"
    );
    assert_eq!(events(&mut watcher).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_failed_listing_is_tried_again_and_never_read_as_empty() {
    let store = registry().await;
    store.set_down(true);
    let mut watcher = watcher(&store, None);
    for _ in 0..5 {
        let step = watcher.step().await;
        assert!(
            matches!(step, WatcherStep::Failed(StoreError::Unavailable(_))),
            "{step:?}"
        );
    }
    store.set_down(false);
    assert_eq!(listed(&mut watcher).await.0, ["epoch"]);
}

#[tokio::test(start_paused = true)]
async fn watchers_that_fail_together_do_not_come_back_together() {
    let store = registry().await;
    store.set_down(true);
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut watcher = watcher(&store, None);
        let mut tries = Vec::new();
        watcher.step().await;
        for _ in 0..8 {
            let begun = Instant::now();
            watcher.step().await;
            tries.push(begun.elapsed());
        }
        assert!(
            tries
                .iter()
                .all(|pause| *pause <= LONGEST_PAUSE + GRACE / 1000)
        );
        all.push(tries);
    }
    // Each pause differs by more than the clock's millisecond.
    let differ = |(a, b): &(&Duration, &Duration)| a.abs_diff(**b) > Duration::from_millis(1);
    let apart = all[0].iter().zip(&all[1]).filter(differ).count();
    assert!(apart >= 4, "{all:?}");
}

#[tokio::test(start_paused = true)]
async fn a_broken_watch_resumes_at_the_same_revision() {
    let store = registry().await;
    let mut watcher = watcher(&store, None);
    let (_, at) = listed(&mut watcher).await;
    store.set_down(true);
    assert!(matches!(watcher.step().await, WatcherStep::Failed(_)));
    store.set_down(false);
    store.commit(&[("apps/a", Some("{}"))]);
    assert_eq!(
        events(&mut watcher).await,
        [(at + 1, vec!["+apps/a".into()])]
    );
    store.break_watches();
    store.commit(&[("apps/b", Some("{}"))]);
    assert_eq!(
        events(&mut watcher).await,
        [(at + 2, vec!["+apps/b".into()])]
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_watch_that_answers_pings_stays_open() {
    let store = registry().await;
    let mut watcher = watcher(&store, None);
    listed(&mut watcher).await;
    let hour = Duration::from_secs(3600);
    let step = tokio::time::timeout(hour, watcher.step()).await;
    assert!(
        step.is_err(),
        "a quiet hour brings nothing, but came {step:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_leaves_a_ping_unanswered_is_opened_again() {
    let store = registry().await;
    let mut watcher = watcher(&store, None);
    listed(&mut watcher).await;
    store.set_mute(true);
    let begun = Instant::now();
    assert!(matches!(watcher.step().await, WatcherStep::Failed(_)));
    assert_eq!(begun.elapsed(), IDLE + GRACE);
    assert!(matches!(watcher.step().await, WatcherStep::Watching));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_read_for_long_is_asked_before_it_is_given_up() {
    let store = registry().await;
    let mut watcher = watcher(&store, None);
    listed(&mut watcher).await;
    let long = Duration::from_secs(60);
    for _ in 0..20 {
        tokio::time::advance(long).await;
        let step = tokio::time::timeout(long, watcher.step()).await;
        assert!(step.is_err(), "it answers, but came {step:?}");
        let at = store.commit(&[("apps/a", Some("{}"))]);
        tokio::time::advance(long).await;
        let WatcherStep::Events(revisions) = watcher.step().await else {
            panic!("what came meanwhile is told");
        };
        assert_eq!(named(revisions), [(at, vec!["+apps/a".into()])]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_at_a_compacted_revision_ends_the_watcher() {
    let store = registry().await;
    let at = store.commit(&[("apps/a", Some("{}"))]);
    store.commit(&[("apps/b", Some("{}"))]);
    store.compact(at + 1);
    let mut watcher = watcher(&store, Some(at));
    assert!(matches!(
        watcher.step().await,
        WatcherStep::Ended(End::Compacted)
    ));
    assert!(
        matches!(watcher.step().await, WatcherStep::Ended(End::Compacted)),
        "and stays ended"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_whose_next_revision_is_compacted_ends_the_watcher() {
    let store = registry().await;
    let mut watcher = watcher(&store, None);
    listed(&mut watcher).await;
    store.set_down(true);
    assert!(matches!(watcher.step().await, WatcherStep::Failed(_)));
    store.set_down(false);
    store.commit(&[("apps/a", Some("{}"))]);
    store.compact(store.commit(&[("apps/a", None)]));
    loop {
        match watcher.step().await {
            WatcherStep::Watching | WatcherStep::Failed(_) => {}
            WatcherStep::Ended(end) => break assert_eq!(end, End::Compacted),
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_etcd_that_went_back_ends_the_watcher() {
    let store = registry().await;
    let at = store.commit(&[("apps/a", Some("{}"))]);
    let mut watcher = watcher(&store, None);
    listed(&mut watcher).await;
    store.wipe();
    loop {
        match watcher.step().await {
            WatcherStep::Failed(_) => {}
            WatcherStep::Ended(end) => {
                break assert_eq!(end, End::WentBack { etcd: 1, ours: at });
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn another_epoch_ends_the_watcher() {
    let store = registry().await;
    let mut other = Watcher::new(Arc::clone(&store) as Arc<dyn Store>, "e2", None);
    let end = loop {
        match other.step().await {
            WatcherStep::Page(_) | WatcherStep::Listed(_) => {}
            WatcherStep::Ended(end) => break end,
            step => panic!("unexpected {step:?}"),
        }
    };
    assert_eq!(end, End::OtherEpoch(Some(EPOCH.into())));
}

/// A store whose watch yields what a script says.
#[derive(Debug)]
struct Scripted(MemoryStore, std::sync::Mutex<Vec<WatchItem>>);

struct ScriptedWatch(std::vec::IntoIter<WatchItem>);

#[async_trait]
impl Watch for ScriptedWatch {
    async fn next(&mut self) -> Result<Option<WatchItem>, StoreError> {
        match self.0.next() {
            Some(item) => Ok(Some(item)),
            None => std::future::pending().await,
        }
    }

    async fn ping(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[async_trait]
impl Store for Scripted {
    async fn list(&self, f: &[u8], n: usize, at: Option<Revision>) -> Result<Page, StoreError> {
        self.0.list(f, n, at).await
    }
    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.0.get(key).await
    }
    async fn watch(&self, _from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let items = std::mem::take(&mut *self.1.lock().unwrap());
        Ok(Box::new(ScriptedWatch(items.into_iter())))
    }
    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        self.0.txn(compares, ops).await
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        self.0.lease_grant(ttl).await
    }
    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.lease_renew(lease).await
    }
    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError> {
        self.0.lease(lease).await
    }
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.0.lease_revoke(lease).await
    }
}

fn deleted(key: &str, mod_revision: Revision) -> Event {
    Event::Delete {
        key: key.into(),
        mod_revision,
    }
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_never_advances_the_position() {
    let store = (*registry().await).clone();
    let script = vec![
        WatchItem::Alive,
        WatchItem::Events(vec![
            deleted("apps/a", 5),
            deleted("apps/b", 5),
            deleted("apps/c", 7),
        ]),
        WatchItem::Alive,
        // What was told before, and an event that such an answer overtook.
        WatchItem::Events(vec![deleted("apps/c", 7), deleted("apps/d", 8)]),
    ];
    let store = Arc::new(Scripted(store, std::sync::Mutex::new(script)));
    let mut watcher = Watcher::new(store, EPOCH, None);
    assert_eq!(
        events_after_listing(&mut watcher).await,
        [
            (5, vec!["-apps/a".into(), "-apps/b".into()]),
            (7, vec!["-apps/c".into()])
        ]
    );
    assert_eq!(events(&mut watcher).await, [(8, vec!["-apps/d".into()])]);
}

async fn events_after_listing(watcher: &mut Watcher) -> Vec<(Revision, Vec<String>)> {
    listed(watcher).await;
    events(watcher).await
}

#[tokio::test(start_paused = true)]
async fn a_watch_opens_however_often_its_caller_does_something_else_meanwhile() {
    let store = Arc::new(Fake::new(Fault::Late(Duration::from_secs(3))));
    let epoch = store.inner.commit(&[("epoch", Some(EPOCH))]);
    let mut watcher = Watcher::new(store, EPOCH, Some(epoch));
    let mut at = None;
    while at.is_none() {
        if let WatcherStep::Listed(revision) = watcher.step().await {
            at = Some(revision);
        }
    }
    // A look at etcd and the watch itself: two answers, one after the other.
    let mut turns = 0;
    while !watcher.is_watching() {
        turns += 1;
        assert!(turns < 10, "the watch does not open");
        let _dropped = timeout(Duration::from_secs(1), watcher.step()).await;
    }
    assert!(turns > 5, "{turns}");
}
