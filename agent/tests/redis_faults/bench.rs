//! A store in memory, one Redis with any flags, and an agent between them.

use pointsman_harness::redis_node::{self, RedisNode};
use pointsman_memory::MemoryStore;
use pointsman_publish::sink::redis::RedisSink;
use pointsman_store::Store;
use redis::aio::MultiplexedConnection;

use crate::faults::agent::{self, Agent, SHOP};

pub struct Bench {
    pub store: MemoryStore,
    pub redis: RedisNode,
    pub connection: MultiplexedConnection,
}

impl Bench {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(flags: &[&str]) -> Self {
        let redis = RedisNode::start_with(flags).await;
        let store = MemoryStore::new();
        agent::put(&store, "routes/a.example", SHOP).await;
        Self {
            store,
            connection: redis.connection().await,
            redis,
        }
    }

    /// An agent that has brought Redis up to date.
    pub async fn agent(&mut self) -> Agent {
        let agent = self.agent_with(self.redis.sink());
        self.settled().await;
        agent
    }

    pub fn agent_with(&self, sink: RedisSink) -> Agent {
        Agent::start("a", self.store.clone(), sink)
    }

    pub async fn command(&mut self, words: &str) {
        let _: redis::Value = redis_node::command(&mut self.connection, words).await;
    }

    pub async fn put(&self, host: &str) {
        agent::put(&self.store, &format!("routes/{host}"), SHOP).await;
    }

    pub async fn delete(&self, host: &str) {
        agent::delete(&self.store, &format!("routes/{host}")).await;
    }

    pub async fn settled(&mut self) {
        agent::settled(&self.store, &mut self.connection).await;
    }

    pub async fn claim(&mut self) -> String {
        agent::claim(&mut self.connection).await
    }

    /// The store's revision.
    pub async fn revision(&self) -> i64 {
        self.store.get("epoch").await.unwrap().1
    }

    /// Checks that the change stream leads to the store's revision, each entry
    /// building on the one before: nothing was announced twice or left out.
    pub async fn chain_is_whole(&mut self) {
        let entries: redis::streams::StreamRangeReply =
            redis_node::command(&mut self.connection, "XRANGE pointsman:changes - +").await;
        let mut at: Option<String> = None;
        for entry in entries.ids {
            let from: Option<String> = entry.get("from");
            if let (Some(at), Some(from)) = (&at, &from) {
                assert_eq!(from, at, "the chain breaks at {}", entry.id);
            }
            at = entry.id.split_once('-').map(|(to, _)| to.to_owned());
        }
        assert_eq!(at, Some(self.revision().await.to_string()));
    }
}
