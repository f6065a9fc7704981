//! The follower over the store in memory, on a paused clock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pointsman_memory::{Fake, Fault, MemoryStore};
use pointsman_model::{Actor, Kind, Revision};
use pointsman_store::{Condition, SignedStore, Store, Written};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{EventFollower, EventPage, Events, KEPT, LoggedOp};

fn registry() -> MemoryStore {
    let store = MemoryStore::new();
    store.commit(&[("epoch", Some("e"))]);
    store
}

fn follow(store: &MemoryStore) -> (Events, JoinHandle<()>) {
    let (follower, events) = EventFollower::new(Arc::new(store.clone()));
    let task = tokio::spawn(follower.run(CancellationToken::new()));
    (events, task)
}

/// All that is known, once `revision` is, with what the log begins with.
async fn until(events: &mut Events, revision: Revision) -> EventPage {
    loop {
        if let Some(page) = events.after(0, usize::MAX / 2)
            && page.events.last().is_some_and(|e| e.revision >= revision)
        {
            return page;
        }
        events.moved().await;
    }
}

/// `<revision> <op> <kind> <name>`, and who.
fn shown(page: &EventPage) -> Vec<String> {
    let lines = page.events.iter().map(|event| {
        let by = match &event.actor {
            None => "etcd",
            Some(Actor::Agent { agent }) => agent,
            Some(Actor::Api { request, .. }) => request,
        };
        let (revision, op, kind) = (event.revision, event.op, event.kind);
        format!("{revision} {op:?} {kind:?} {} by {by}", event.name)
    });
    lines.collect()
}

async fn put(store: &dyn Store, key: &str, lease: i64) -> Revision {
    let put = store.put(key, b"{}", lease, Condition::Always);
    match put.await.unwrap() {
        Written::Done(revision) => revision,
        Written::Conflict(found) => panic!("{found:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn each_change_says_who_made_it_and_what_was_before() {
    let store = registry();
    let signed = SignedStore::of_agent(Arc::new(store.clone()), "agent-1");
    let lease = store.lease_grant(30).await.unwrap();
    put(&signed, "routes/a.test", 0).await;
    put(&store, "routes/a.test", 0).await;
    put(&signed, "instances/shop/1", lease).await;
    put(&signed, "instances/shop/2", lease).await;
    // What agents agree on among themselves is none.
    put(&signed, "agents/agent-1", 0).await;
    let deleted = signed.delete("instances/shop/2", Condition::Present);
    deleted.await.unwrap();
    store.expire(lease);
    store.commit(&[("routes/a.test", None), ("routes/UPPER", Some("x"))]);
    let (mut events, _task) = follow(&store);
    let page = until(&mut events, 10).await;
    assert_eq!(
        shown(&page),
        [
            "3 Put Route a.test by agent-1",
            "4 Put Route a.test by etcd",
            "5 Put Instance shop/1 by agent-1",
            "6 Put Instance shop/2 by agent-1",
            "8 Delete Instance shop/2 by agent-1",
            "9 Expired Instance shop/1 by etcd",
            "10 Delete Route a.test by etcd",
            "10 Put Route UPPER by etcd",
        ]
    );
    let before = |n: usize| page.events[n].before.as_deref();
    assert_eq!(before(0), None);
    assert_eq!(before(1), Some(&b"{}"[..]));
    assert_eq!(before(5), Some(&b"{}"[..]));
    let has_time = page.events.iter().map(|event| event.at.is_some());
    let signed = page.events.iter().map(|event| event.actor.is_some());
    assert!(
        has_time.eq(signed),
        "of the past, only what is signed has a time"
    );
    // From now on, the agent sees when.
    store.commit(&[("settings", Some("{}"))]);
    let page = until(&mut events, 11).await;
    let last = page.events.last().unwrap();
    assert_eq!(
        (last.kind, &*last.name, last.op),
        (Kind::Settings, "", LoggedOp::Put)
    );
    assert!(last.at.is_some());
}

#[tokio::test(start_paused = true)]
async fn two_followers_have_the_same_whenever_they_began() {
    let store = registry();
    let signed = SignedStore::of_agent(Arc::new(store.clone()), "agent-1");
    let (mut early, _task) = follow(&store);
    for n in 0..50 {
        put(&signed, &format!("routes/{n}.test"), 0).await;
        tokio::task::yield_now().await;
    }
    let last = store.revision();
    let (mut late, _task) = follow(&store);
    let early = until(&mut early, last).await;
    assert_eq!(early.events.len(), 50);
    assert_eq!(early, until(&mut late, last).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_compacted_is_told_to_be_missing() {
    let store = registry();
    for n in 0..10 {
        put(&store, &format!("routes/{n}.test"), 0).await;
    }
    store.compact(8);
    let (mut events, _task) = follow(&store);
    let page = until(&mut events, 12).await;
    assert_eq!(page.from, 8);
    assert_eq!(page.events.len(), 5);
    // A gap while nobody watches: what was known stays.
    store.set_down(true);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    store.set_down(false);
    for n in 0..10 {
        put(&store, &format!("routes/{n}.test"), 0).await;
    }
    store.compact(20);
    let page = until(&mut events, 22).await;
    assert_eq!(page.from, 20);
    assert_eq!(page.events.len(), 5 + 3);
}

#[tokio::test(start_paused = true)]
async fn another_registry_begins_from_scratch() {
    let store = registry();
    put(&store, "routes/a.test", 0).await;
    put(&store, "routes/b.test", 0).await;
    let (mut events, _task) = follow(&store);
    let old = until(&mut events, 4).await;
    store.wipe();
    store.commit(&[("epoch", Some("other"))]);
    put(&store, "routes/c.test", 0).await;
    let new = loop {
        events.moved().await;
        let page = events.after(0, 10).unwrap();
        if page.begun != old.begun && !page.events.is_empty() {
            break page;
        }
    };
    assert_eq!(shown(&new), ["3 Put Route c.test by etcd"]);
}

#[tokio::test(start_paused = true)]
async fn the_log_is_bounded_and_pages_hold_whole_revisions() {
    let store = registry();
    let names: Vec<_> = (0..300).map(|n| format!("routes/{n}.test")).collect();
    let writes: Vec<_> = names.iter().map(|name| (&**name, Some("{}"))).collect();
    for _ in 0..40 {
        store.commit(&writes);
    }
    let (mut events, _task) = follow(&store);
    let page = until(&mut events, 42).await;
    assert_eq!(page.events.len(), KEPT);
    assert_eq!(page.from, 10, "the rest of revision 9 is not whole");
    let page = events.after(20, 10).unwrap();
    assert_eq!(page.events.len(), 300);
    assert!(page.more && page.events.iter().all(|event| event.revision == 21));
    let page = events.last(301).unwrap();
    assert_eq!(page.events.len(), 600);
    assert!(!page.more && page.events[0].revision == 41);
    assert!(events.after(42, 10).unwrap().events.is_empty());
    // 20 MiB in each: two do not fit.
    let large = "x".repeat(20 << 20);
    store.commit(&[("routes/large.test", Some(&large))]);
    store.commit(&[("routes/other.test", Some(&large))]);
    let page = until(&mut events, 44).await;
    assert_eq!((page.events.len(), page.from), (1, 44));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_silent_is_opened_again() {
    let fake = Arc::new(Fake::new(Fault::Deaf));
    fake.inner.commit(&[("epoch", Some("e"))]);
    let (follower, mut events) = EventFollower::new(Arc::clone(&fake) as Arc<dyn Store>);
    let _task = tokio::spawn(follower.run(CancellationToken::new()));
    // The watch is open, and deaf.
    events.moved().await;
    fake.faulty.store(false, Ordering::Relaxed);
    put(&fake.inner, "routes/a.test", 0).await;
    let page = until(&mut events, 3).await;
    assert_eq!(page.events.len(), 1);
}
