//! One etcd behind a relay, one Redis, one agent between them.

use pointsman_harness::etcd::{self, EtcdNode};
use pointsman_harness::redis_node::RedisNode;
use pointsman_store::etcd::EtcdStore;
use redis::aio::MultiplexedConnection;

use crate::faults::agent::{self, Agent};
use pointsman_harness::relay::Relay;

pub struct Bench {
    pub etcd: EtcdNode,
    pub relay: Relay,
    /// The test's own store, which does not go through the relay.
    pub store: EtcdStore,
    pub redis: RedisNode,
    pub connection: MultiplexedConnection,
}

impl Bench {
    pub async fn start() -> Self {
        let (etcd, redis) = tokio::join!(EtcdNode::start(), RedisNode::start());
        Self {
            relay: Relay::to(etcd.client).await,
            store: etcd::store(&[etcd.url()]),
            connection: redis.connection().await,
            etcd,
            redis,
        }
    }

    /// An agent that reaches etcd through the relay.
    pub fn agent(&self) -> Agent {
        let store = etcd::store(&[etcd::through(&self.relay)]);
        Agent::start("a", store, self.redis.sink())
    }

    pub async fn put(&self, key: &str, value: &str) {
        agent::put(&self.store, key, value).await;
    }

    pub async fn settled(&mut self) {
        agent::settled(&self.store, &mut self.connection).await;
    }

    pub async fn claim(&mut self) -> String {
        agent::claim(&mut self.connection).await
    }
}
