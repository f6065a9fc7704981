//! Several endpoints, some of them dead.

use futures::future::join_all;
use pointsman_harness::etcd::{self, EtcdNode};
use pointsman_harness::ports;
use pointsman_harness::records;
use pointsman_harness::redis_node::RedisNode;
use pointsman_store::{Condition, Store};

use crate::bench::Bench;
use crate::faults::agent::{self, Agent, SHOP};
use crate::faults::until;

#[tokio::test]
async fn with_one_endpoint_of_three_dead_every_call_succeeds() {
    let bench = Bench::start().await;
    let dead = format!("http://{}", ports::free_loopback());
    let urls = [bench.etcd.url(), dead, etcd::through(&bench.relay)];
    for round in 0..5 {
        // A new client each time: it learns which endpoints work.
        let store = etcd::store(&urls);
        for n in 0..10 {
            let key = format!("routes/h{n}.example");
            let put = store.put(&key, SHOP.as_bytes(), 0, Condition::Always).await;
            put.unwrap_or_else(|error| panic!("put {n} of round {round}: {error:?}"));
            store.get(&key).await.unwrap();
            store.list(b"", 100, None).await.unwrap();
            store.keys("routes/", "routes0").await.unwrap();
            store.watch(1).await.unwrap().next().await.unwrap();
            let lease = store.lease_grant(60).await.unwrap();
            store.lease_renew(lease).await.unwrap();
            store.lease_revoke(lease).await.unwrap();
        }
    }
}

/// It takes connections and never answers. The client picks endpoints at random,
/// so a good third of the calls go there first.
#[tokio::test]
async fn with_one_member_of_three_standing_still_reads_and_watches_go_on() {
    let mut cluster = Cluster::start().await;
    let store = etcd::store(&cluster.urls);
    agent::put(&store, "routes/a.example", SHOP).await;
    let follower = (cluster.leader().await + 1) % cluster.members.len();
    cluster.members[follower].process.pause();
    let calls = (0..60).map(|n| {
        let store = store.clone();
        async move {
            if n % 2 == 0 {
                store.get("epoch").await.map(drop)
            } else {
                store.watch(1).await.map(drop)
            }
        }
    });
    let outcomes = join_all(calls).await;
    cluster.members[follower].process.resume();
    let failed: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    // All four tries of a call may go there: one in fifty does.
    assert!(failed.len() <= 12, "{} of 60: {failed:?}", failed.len());
}

struct Cluster {
    members: [EtcdNode; 3],
    urls: Vec<String>,
}

impl Cluster {
    async fn start() -> Self {
        let members = EtcdNode::cluster().await;
        let urls = members.iter().map(EtcdNode::url).collect();
        Self { members, urls }
    }

    /// Which member leads.
    async fn leader(&self) -> usize {
        until("a leader", async || {
            for (index, url) in self.urls.iter().enumerate() {
                let status = async {
                    let client = etcd_client::Client::connect([url], None).await?;
                    client.maintenance_client().status().await
                };
                let status = status.await.map_err(|error| error.to_string())?;
                let id = status.header().map_or(0, |header| header.member_id());
                if id == status.leader() {
                    return Ok(index);
                }
            }
            Err("none leads".to_owned())
        })
        .await
    }
}

#[tokio::test]
async fn a_lost_leader_delays_but_loses_nothing() {
    let (mut cluster, redis) = tokio::join!(Cluster::start(), RedisNode::start());
    let store = etcd::store(&cluster.urls);
    let mut connection = redis.connection().await;
    agent::put(&store, "routes/a.example", SHOP).await;
    let _agent = Agent::start("a", etcd::store(&cluster.urls), redis.sink());
    agent::settled(&store, &mut connection).await;
    let claim = agent::claim(&mut connection).await;
    for round in 0..2 {
        let leader = cluster.leader().await;
        cluster.members[leader].process.kill().await;
        agent::put(&store, &format!("routes/h{round}.example"), SHOP).await;
        agent::settled(&store, &mut connection).await;
        let member = &mut cluster.members[leader];
        member.process.respawn().await.unwrap();
        let alone = etcd::store(&[member.url()]);
        member.ready_through(&alone).await;
    }
    assert_eq!(agent::claim(&mut connection).await, claim, "no rebuild");
}

#[tokio::test]
async fn a_lost_majority_is_waited_for_while_redis_keeps_its_table() {
    let (mut cluster, redis) = tokio::join!(Cluster::start(), RedisNode::start());
    let store = etcd::store(&cluster.urls);
    let mut connection = redis.connection().await;
    agent::put(&store, "routes/a.example", SHOP).await;
    let mut agent = Agent::start("a", etcd::store(&cluster.urls), redis.sink());
    agent::settled(&store, &mut connection).await;
    let claim = agent::claim(&mut connection).await;
    let before = records::held(&mut connection).await.unwrap();
    for member in &mut cluster.members[..2] {
        member.process.kill().await;
    }
    agent.tells("etcd is away", |s| !s.etcd_connected).await;
    let during = records::held(&mut connection).await.unwrap();
    assert_eq!(during, before, "what cannot be asked is not empty");
    for member in &mut cluster.members[..2] {
        member.process.respawn().await.unwrap();
    }
    agent::put(&store, "routes/b.example", SHOP).await;
    agent::settled(&store, &mut connection).await;
    agent.tells("etcd answers", |s| s.etcd_connected).await;
    assert_eq!(agent::claim(&mut connection).await, claim, "no rebuild");
}
