//! The prober on a store in memory, a paused clock, and instances that are
//! made up.

mod pending;
mod rig;

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use pointsman_mirror::Mirror;
use prometheus_client::registry::Registry;
use rig::*;
use tokio::time::{sleep, timeout};

use super::*;

#[tokio::test(start_paused = true)]
async fn ten_thousand_are_asked_every_ten_seconds_without_drift() {
    let names: Vec<_> = (0..10_000)
        .map(|n| {
            (
                format!("i{n}"),
                format!("10.1.{}.{}:80", n / 250, n % 250 + 1),
            )
        })
        .collect();
    let named: Vec<_> = names
        .iter()
        .map(|(id, a)| (id.as_str(), a.as_str()))
        .collect();
    let store = registry(&named).await;
    let asked = Arc::<Instances>::default();
    // Slow answers must not move the next turn.
    *asked.takes.lock().unwrap() = SECOND * 19 / 10;
    let begun = Instant::now();
    let agent = Agent::start_with("a", &store, &asked, 10_000);
    sleep(SECOND * 65).await;
    for (_, addr) in &names {
        let times = agent.instances.asked(addr);
        assert!(times.len() == 6 || times.len() == 7, "{addr}: {times:?}");
        assert!(times[0].duration_since(begun) <= SECOND * 10 + GRAIN);
        for (n, time) in times.iter().enumerate() {
            let after = time.duration_since(times[0]);
            let turn = SECOND * 10 * u32::try_from(n).unwrap();
            let off = after.abs_diff(turn);
            assert!(off <= GRAIN, "{addr} is off by {off:?}");
        }
    }
    assert_eq!(agent.metric("probes_late_total"), 0);
    assert_eq!(agent.metric("probed_instances"), 10_000);
}

#[tokio::test(start_paused = true)]
async fn what_there_is_no_room_for_is_left_out_and_counted_and_all_get_their_turn() {
    let names: Vec<_> = (0..100)
        .map(|n| (format!("i{n}"), format!("10.1.0.{}:80", n + 1)))
        .collect();
    let named: Vec<_> = names
        .iter()
        .map(|(id, a)| (id.as_str(), a.as_str()))
        .collect();
    let store = registry(&named).await;
    let asked = Arc::<Instances>::default();
    // Room for 50 probes in 10 s, where 100 are due.
    *asked.takes.lock().unwrap() = SECOND * 2;
    let agent = Agent::start_with("a", &store, &asked, 10);
    sleep(SECOND * 200).await;
    assert_eq!(asked.most.load(Ordering::Relaxed), 10);
    let counts: Vec<_> = names.iter().map(|(_, a)| asked.asked(a).len()).collect();
    let (fewest, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*fewest >= 8 && *most <= 12, "{fewest} to {most}");
    let late = agent.metric("probes_late_total");
    assert!((800..1100).contains(&late), "{late}");
}

#[tokio::test(start_paused = true)]
async fn only_transitions_are_written() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let agent = Agent::start("a", &store);
    intervals(5).await;
    let before = store.revision();
    agent.instances.set_bad(A, true);
    intervals(2).await;
    assert_eq!(
        mark_of(&store, "shop/a").await,
        None,
        "not before three probes"
    );
    intervals(2).await;
    let mark = r#"{"up":false,"class":"status","reason":"status 503"}"#;
    assert_eq!(mark_of(&store, "shop/a").await.as_deref(), Some(mark));
    assert_eq!(agent.metric("unhealthy_instances"), 1);
    intervals(10).await;
    assert_eq!(store.revision(), before + 1);
    agent.instances.set_bad(A, false);
    intervals(3).await;
    assert_eq!(mark_of(&store, "shop/a").await.as_deref(), Some(UP));
    intervals(10).await;
    assert_eq!(store.revision(), before + 2);
    assert_eq!(agent.metric("unhealthy_instances"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_etcd_did_not_take_is_written_later() {
    let store = registry(&[("a", A)]).await;
    let agent = Agent::start("a", &store);
    intervals(1).await;
    agent.instances.set_bad(A, true);
    store.set_down(true);
    intervals(4).await;
    store.set_down(false);
    assert_eq!(mark_of(&store, "shop/a").await, None);
    intervals(2).await;
    assert!(mark_of(&store, "shop/a").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_gone_is_never_asked_again() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let agent = Agent::start("a", &store);
    *agent.instances.takes.lock().unwrap() = SECOND;
    intervals(3).await;
    delete(&store, "instances/shop/a").await;
    intervals(1).await;
    let count = agent.instances.asked(A).len();
    intervals(10).await;
    assert_eq!(agent.instances.asked(A).len(), count);
    assert!(agent.instances.asked(B).len() >= 13);
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_the_prober_has_not_yet_heard_of_counts() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let agent = Agent::start("a", &store);
    intervals(3).await;
    let count = agent.instances.asked(A).len();
    // The table has it, but nobody told the prober.
    let key = "instances/shop/a".to_owned();
    let mod_revision = store.revision() + 1;
    let gone = pointsman_store::Event::Delete { key, mod_revision };
    agent.table.write().unwrap().apply(mod_revision, &[gone]);
    intervals(3).await;
    assert_eq!(agent.instances.asked(A).len(), count);
    assert!(agent.instances.asked(B).len() >= 6, "the others go on");
}

#[tokio::test(start_paused = true)]
async fn a_probe_begins_only_if_the_table_has_the_instance_at_that_moment() {
    let store = registry(&[("a", A)]).await;
    let mirror = Mirror::new(Arc::new(store.clone()));
    let (table, subscription) = (Arc::clone(mirror.table()), mirror.subscribe());
    let feed = tokio::spawn(feed(store.clone(), mirror));
    let shared = Arc::new(store.clone());
    let metrics = ProbeMetrics::register(&mut Registry::default());
    let mut prober = Prober::new("a", shared, subscription, metrics.clone());
    let asked = Arc::<Instances>::default();
    let mut begun = Vec::new();
    for again in [false, true] {
        intervals(1).await;
        prober.follow().await;
        let name = Arc::from("shop/a");
        let target = prober.targets.get(&name).unwrap();
        let ask = Arc::clone(&asked) as Arc<dyn Ask>;
        let now = Instant::now();
        let probe = |ask| {
            probe(
                Arc::clone(&name),
                target,
                now,
                Arc::clone(&table),
                ask,
                metrics.clone(),
            )
        };
        let (first, second) = (probe(Arc::clone(&ask)), probe(ask));
        begun.push(first.await.found.is_some());
        delete(&store, "instances/shop/a").await;
        if !again {
            put(&store, "instances/shop/a", A).await;
        }
        intervals(1).await;
        begun.push(second.await.found.is_some());
    }
    // Registered again, it is another one; and gone is gone.
    assert_eq!(begun, [true, false, true, false]);
    assert_eq!(asked.asked(A).len(), 2);
    feed.abort();
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_an_instance_that_goes_is_broken_off() {
    let store = registry(&[("a", A)]).await;
    let agent = Agent::start("a", &store);
    *agent.instances.takes.lock().unwrap() = SECOND * 3600;
    intervals(2).await;
    assert_eq!(agent.instances.under_way.load(Ordering::Relaxed), 1);
    delete(&store, "instances/shop/a").await;
    intervals(1).await;
    assert_eq!(agent.instances.under_way.load(Ordering::Relaxed), 0);
    assert_eq!(agent.metric("probed_instances"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_new_instance_is_asked_at_once() {
    let store = registry(&[("a", A)]).await;
    let agent = Agent::start("a", &store);
    intervals(1).await;
    for n in 0..20 {
        let addr = format!("10.2.0.{}:80", n + 1);
        put(&store, &format!("instances/shop/n{n}"), &addr).await;
        settled().await;
        assert_eq!(agent.instances.asked(&addr).len(), 1, "{addr}");
    }
    intervals(3).await;
    for n in 0..20 {
        let times = agent.instances.asked(&format!("10.2.0.{}:80", n + 1));
        let pause = times[1].duration_since(times[0]);
        assert!(pause >= SECOND * 5 && pause <= SECOND * 16, "{pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_address_starts_from_scratch() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let agent = Agent::start("a", &store);
    intervals(1).await;
    agent.instances.set_bad(A, true);
    intervals(2).await;
    let moved = "10.0.0.9:80";
    agent.instances.set_bad(moved, true);
    put(&store, "instances/shop/a", moved).await;
    let count = agent.instances.asked(A).len();
    intervals(1).await;
    assert_eq!(
        mark_of(&store, "shop/a").await,
        None,
        "it has a new account"
    );
    intervals(3).await;
    assert!(mark_of(&store, "shop/a").await.is_some());
    assert_eq!(agent.instances.asked(A).len(), count);
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_registered_again_is_up_again() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let agent = Agent::start("a", &store);
    agent.instances.set_bad(A, true);
    intervals(5).await;
    assert_eq!(agent.metric("unhealthy_instances"), 1);
    delete(&store, "instances/shop/a").await;
    put(&store, "instances/shop/a", A).await;
    intervals(1).await;
    assert_eq!(
        mark_of(&store, "shop/a").await,
        None,
        "the old mark is gone"
    );
    assert_eq!(agent.metric("unhealthy_instances"), 0);
    intervals(4).await;
    assert!(mark_of(&store, "shop/a").await.is_some(), "it is no better");
}

#[tokio::test(start_paused = true)]
async fn each_instance_is_asked_by_one_agent_and_taken_over_when_that_is_gone() {
    let names: Vec<_> = (0..20)
        .map(|n| (format!("i{n}"), format!("10.1.0.{}:80", n + 1)))
        .collect();
    let named: Vec<_> = names
        .iter()
        .map(|(id, a)| (id.as_str(), a.as_str()))
        .collect();
    let store = registry(&named).await;
    put(&store, "agents/b", "{}").await;
    let agents = ["a", "b"].map(|id| Agent::start(id, &store));
    let sick = &names[0].1;
    agents
        .iter()
        .for_each(|agent| agent.instances.set_bad(sick, true));
    intervals(5).await;
    assert!(mark_of(&store, "shop/i0").await.is_some());
    for (_, addr) in &names {
        let counts = agents
            .each_ref()
            .map(|agent| agent.instances.asked(addr).len());
        assert!(counts.contains(&0), "{addr}: {counts:?}");
        assert!(
            (4..=6).contains(&(counts[0] + counts[1])),
            "{addr}: {counts:?}"
        );
    }
    let shares = agents
        .each_ref()
        .map(|agent| agent.metric("probed_instances"));
    assert_eq!(shares[0] + shares[1], 20);
    assert!(shares[0] > 0 && shares[1] > 0, "{shares:?}");

    let [left, gone] = agents;
    drop(gone);
    delete(&store, "agents/b").await;
    let revision = store.revision();
    intervals(5).await;
    assert_eq!(left.metric("probed_instances"), 20);
    for (_, addr) in &names {
        assert!(left.instances.asked(addr).len() >= 4, "{addr}");
    }
    assert_eq!(store.revision(), revision, "nothing has changed");
    left.instances.set_bad(sick, false);
    intervals(3).await;
    assert_eq!(mark_of(&store, "shop/i0").await.as_deref(), Some(UP));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_not_there_yet_asks_nobody() {
    let store = registry(&[("a", A)]).await;
    let agent = Agent::start("b", &store);
    intervals(3).await;
    assert_eq!(agent.instances.asked(A), []);
    put(&store, "agents/b", "{}").await;
    delete(&store, "agents/a").await;
    intervals(2).await;
    assert_eq!(agent.instances.asked(A).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn marks_that_mean_nothing_any_more_are_removed() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let down = r#"{"up":false,"reason":"x"}"#;
    put(&store, "health/shop/never", down).await;
    put(&store, "health/shop/b", down).await;
    let agent = Agent::start("a", &store);
    intervals(1).await;
    assert_eq!(
        mark_of(&store, "shop/never").await,
        None,
        "no such instance"
    );
    agent.instances.set_bad(B, true);
    intervals(1).await;
    assert!(
        mark_of(&store, "shop/b").await.is_some(),
        "taken over as it is"
    );
    put(&store, "apps/shop", "{}").await;
    intervals(7).await;
    assert_eq!(mark_of(&store, "shop/b").await, None, "no check any more");
    assert_eq!(agent.metric("probed_instances"), 0);
    let count = agent.instances.asked(A).len();
    intervals(2).await;
    assert_eq!(agent.instances.asked(A).len(), count);
    put(&store, "apps/shop", CHECK).await;
    intervals(2).await;
    assert!(agent.instances.asked(A).len() > count, "the prober goes on");
}

#[tokio::test(start_paused = true)]
async fn if_no_instance_answers_none_is_marked() {
    let names: Vec<_> = (0..12)
        .map(|n| (format!("i{n}"), format!("10.1.0.{}:80", n + 1)))
        .collect();
    let named: Vec<_> = names
        .iter()
        .map(|(id, a)| (id.as_str(), a.as_str()))
        .collect();
    let store = registry(&named).await;
    let agent = Agent::start("a", &store);
    intervals(2).await;
    let revision = store.revision();
    names
        .iter()
        .for_each(|(_, a)| agent.instances.set_bad(a, true));
    intervals(6).await;
    assert_eq!(store.revision(), revision);
    assert!(agent.metric("probe_doubts_total") >= 12);
    // One of them answers: the others are sick indeed.
    agent.instances.set_bad(&names[5].1, false);
    intervals(2).await;
    let marked: BTreeSet<_> = store
        .content_at(store.revision())
        .into_iter()
        .map(|kv| kv.key)
        .collect();
    let marked = marked
        .iter()
        .filter(|key| key.starts_with("health/"))
        .count();
    assert_eq!(marked, 11);
}

#[tokio::test(start_paused = true)]
async fn the_agents_own_trouble_changes_nothing() {
    let store = registry(&[("a", A), ("b", B)]).await;
    let agent = Agent::start("a", &store);
    intervals(2).await;
    let revision = store.revision();
    let own = Outcome::Own("no files left".into());
    agent
        .instances
        .bad
        .lock()
        .unwrap()
        .insert(A.parse().unwrap(), own);
    intervals(10).await;
    assert_eq!(store.revision(), revision);
    assert!(agent.metric("probes_total{result=\"own\"}") >= 9);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_probes() {
    let store = registry(&[("a", A)]).await;
    let mut agent = Agent::start("a", &store);
    *agent.instances.takes.lock().unwrap() = SECOND * 3600;
    intervals(2).await;
    assert_eq!(agent.instances.under_way.load(Ordering::Relaxed), 1);
    agent.stop.cancel();
    let prober = agent.tasks.pop().unwrap();
    timeout(Duration::from_millis(1), prober)
        .await
        .unwrap()
        .unwrap();
    settled().await;
    assert_eq!(agent.instances.under_way.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn draining_that_has_outlived_its_instance_is_removed() {
    let store = registry(&[("a", A), ("b", B), ("c", A)]).await;
    for id in ["a", "b", "c", "never-there"] {
        put(
            &store,
            &format!("overrides/shop/{id}"),
            r#"{"draining":true}"#,
        )
        .await;
    }
    // By hand, past the API: gone, and registered again.
    delete(&store, "instances/shop/a").await;
    delete(&store, "instances/shop/b").await;
    put(&store, "instances/shop/b", B).await;
    let _agent = Agent::start("a", &store);
    let left = async || {
        let page = store.list(b"overrides/", 0, None).await.unwrap();
        let keys = page.items.into_iter().map(|kv| kv.key);
        keys.collect::<Vec<_>>()
    };
    intervals(1).await;
    assert_eq!(left().await, ["overrides/shop/c"]);
    delete(&store, "instances/shop/c").await;
    intervals(1).await;
    assert_eq!(left().await, [""; 0]);
}
