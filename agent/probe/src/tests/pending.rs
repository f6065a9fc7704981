//! Instances that wait for their first good probe.

use pointsman_memory::MemoryStore;
use pointsman_mirror::table::InstanceState;

use super::*;

const BOOTING: &str = r#"{"up":false,"pending":true,"class":"status","reason":"status 503"}"#;

/// A registry in which new instances are pending.
async fn registry_of(check: &str) -> MemoryStore {
    let store = MemoryStore::new();
    for (key, value) in [("pending", "{}"), ("agents/a", "{}"), ("apps/shop", check)] {
        put(&store, key, value).await;
    }
    store
}

fn is_live(agent: &Agent, id: &str) -> bool {
    let table = agent.table.read().unwrap();
    table.instance_state("shop", id) == Some(InstanceState::Live)
}

#[tokio::test(start_paused = true)]
async fn the_first_good_probe_lets_an_instance_in_and_nothing_more_is_written() {
    let store = registry_of(CHECK).await;
    let agent = Agent::start("a", &store);
    intervals(1).await;
    put(&store, "instances/shop/a", A).await;
    settled().await;
    assert_eq!(mark_of(&store, "shop/a").await.as_deref(), Some(UP));
    assert!(is_live(&agent, "a"));
    assert_eq!(
        agent.instances.asked(A).len(),
        1,
        "`rise` is not waited for"
    );
    assert_eq!(agent.metric("pending_instances"), 0);
    let revision = store.revision();
    intervals(6).await;
    assert_eq!(store.revision(), revision);
    assert!(agent.instances.asked(A).len() <= 8, "as often as any other");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_booting_is_asked_each_second_and_marked_once() {
    let store = registry_of(CHECK).await;
    let agent = Agent::start("a", &store);
    agent.instances.set_bad(A, true);
    intervals(1).await;
    put(&store, "instances/shop/a", A).await;
    let registered = store.revision();
    sleep(SECOND * 20).await;
    settled().await;
    assert_eq!(mark_of(&store, "shop/a").await.as_deref(), Some(BOOTING));
    assert_eq!(store.revision(), registered + 1, "however long it takes");
    assert_eq!(agent.metric("pending_instances"), 1);
    assert_eq!(agent.metric("unhealthy_instances"), 0);
    let asked = agent.instances.asked(A).len();
    assert!((20..=22).contains(&asked), "{asked} times in 20 s");
    assert_eq!(agent.metric("probes_late_total"), 0);
    // A policy that changes meanwhile lets it in no sooner.
    let changed = CHECK.replacen('{', r#"{"retries":3,"#, 1);
    put(&store, "apps/shop", &changed).await;
    settled().await;
    assert!(!is_live(&agent, "a"));
    agent.instances.set_bad(A, false);
    sleep(SECOND).await;
    settled().await;
    assert!(is_live(&agent, "a"));
    assert_eq!(mark_of(&store, "shop/a").await.as_deref(), Some(UP));
}

#[tokio::test(start_paused = true)]
async fn slow_probes_of_one_that_is_booting_are_not_late_ones() {
    let store = registry_of(CHECK).await;
    let agent = Agent::start("a", &store);
    *agent.instances.takes.lock().unwrap() = SECOND * 19 / 10;
    agent.instances.set_bad(A, true);
    put(&store, "instances/shop/a", A).await;
    sleep(SECOND * 20).await;
    assert_eq!(agent.metric("probes_late_total"), 0);
    assert!(agent.instances.asked(A).len() >= 10);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_doubts_itself_still_lets_in_who_answers() {
    let store = registry_of(CHECK).await;
    let agent = Agent::start("a", &store);
    let addr = |n: usize| format!("10.1.0.{}:80", n + 1);
    for n in 0..12 {
        agent.instances.set_bad(&addr(n), true);
        put(&store, &format!("instances/shop/i{n}"), &addr(n)).await;
    }
    sleep(SECOND * 5).await;
    assert_eq!(agent.metric("pending_instances"), 12);
    agent.instances.set_bad(&addr(3), false);
    sleep(SECOND * 2).await;
    assert!(is_live(&agent, "i3"));
    // And that others boot is no reason to believe that one which fails does not.
    agent.instances.set_bad(&addr(3), true);
    intervals(5).await;
    assert!(!is_live(&agent, "i3"));
    assert_eq!(agent.metric("probe_doubts_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_registered_again_is_pending_again() {
    let store = registry_of(CHECK).await;
    let agent = Agent::start("a", &store);
    put(&store, "instances/shop/a", A).await;
    settled().await;
    assert!(is_live(&agent, "a"));
    agent.instances.set_bad(A, true);
    delete(&store, "instances/shop/a").await;
    put(&store, "instances/shop/a", A).await;
    intervals(1).await;
    assert!(!is_live(&agent, "a"));
    assert_eq!(mark_of(&store, "shop/a").await.as_deref(), Some(BOOTING));
    agent.instances.set_bad(A, false);
    sleep(SECOND).await;
    settled().await;
    assert!(is_live(&agent, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_pending_one_that_is_taken_over_is_let_in_by_the_other_agent() {
    let store = registry_of(CHECK).await;
    put(&store, "agents/b", "{}").await;
    let agents = ["a", "b"].map(|id| Agent::start(id, &store));
    for n in 0..10 {
        let addr = format!("10.1.0.{}:80", n + 1);
        agents
            .iter()
            .for_each(|agent| agent.instances.set_bad(&addr, true));
        put(&store, &format!("instances/shop/i{n}"), &addr).await;
    }
    sleep(SECOND * 2).await;
    let shares = agents
        .each_ref()
        .map(|agent| agent.metric("pending_instances"));
    assert_eq!(shares[0] + shares[1], 10);
    assert!(shares[0] > 0 && shares[1] > 0, "{shares:?}");
    let [left, gone] = agents;
    drop(gone);
    delete(&store, "agents/b").await;
    left.instances.bad.lock().unwrap().clear();
    sleep(SECOND * 2).await;
    settled().await;
    for n in 0..10 {
        assert!(is_live(&left, &format!("i{n}")), "i{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_lets_an_instance_in_that_no_agent_probes() {
    let store = registry_of(CHECK).await;
    // This agent is not there for the others, so it probes nothing.
    let agent = Agent::start("b", &store);
    put(&store, "instances/shop/a", A).await;
    delete(&store, "agents/a").await;
    intervals(5).await;
    assert!(!is_live(&agent, "a"));
    put(&store, "agents/b", "{}").await;
    settled().await;
    assert!(is_live(&agent, "a"));
}

#[tokio::test(start_paused = true)]
async fn where_instances_start_healthy_a_mark_goes_when_it_is_over() {
    let check = CHECK.replace("\"interval\"", r#""initial":"healthy","interval""#);
    let store = registry_of(&check).await;
    let agent = Agent::start("a", &store);
    put(&store, "instances/shop/a", A).await;
    intervals(2).await;
    assert!(is_live(&agent, "a"));
    assert_eq!(mark_of(&store, "shop/a").await, None, "nothing was written");
    agent.instances.set_bad(A, true);
    intervals(4).await;
    assert!(mark_of(&store, "shop/a").await.is_some());
    agent.instances.set_bad(A, false);
    intervals(3).await;
    assert_eq!(mark_of(&store, "shop/a").await, None);
}
