//! The registry in etcd, and what is true about its instances.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use pointsman_harness::registry::{self, Login};

use crate::facts::Facts;
use crate::instances::ChurnedInstance;

/// What others than agents wrote.
const CONTENT: [&str; 4] = ["apps/", "instances/", "routes/", "settings"];

/// Keys with their values.
pub type Content = Vec<(String, Vec<u8>)>;

/// Ids of instances by app.
pub type Registered = BTreeMap<String, BTreeSet<String>>;

/// The registry as one who registers and deregisters sees it.
#[derive(Clone)]
pub struct FactRegistry {
    /// Its keys.
    pub keys: registry::Registry,
    facts: Arc<Facts>,
}

impl FactRegistry {
    /// To etcd at these URLs, with commas between.
    pub async fn connect(urls: &str, login: Option<&Login>, facts: &Arc<Facts>) -> Self {
        Self {
            keys: registry::Registry::connect_as(urls, login).await,
            facts: Arc::clone(facts),
        }
    }

    pub async fn register(&self, ChurnedInstance { app, id, addr }: &ChurnedInstance) {
        self.facts.registering(id);
        self.keys.put_instance(app, id, addr).await;
    }

    pub async fn deregister(&self, ChurnedInstance { app, id, .. }: &ChurnedInstance) {
        self.keys.delete_instance(app, id).await;
        self.facts.deregistered(id);
    }

    /// Binds a host to an app.
    pub async fn bind(&self, host: &str, app: &str) {
        let value = format!(r#"{{"app":"{app}"}}"#);
        self.keys.put(&format!("routes/{host}"), value).await;
    }

    /// All that others than agents wrote.
    pub async fn content(&self) -> Content {
        let (_, keys) = self.keys.everything().await;
        let keys = keys.into_iter().map(|kv| (kv.key, kv.value));
        keys.filter(|(key, _)| CONTENT.iter().any(|of| key.starts_with(of)))
            .collect()
    }

    /// Writes it again.
    pub async fn write(&self, content: &Content) {
        for (key, value) in content {
            self.keys.put(key, value.clone()).await;
        }
    }

    /// Takes what etcd has of these instances for the truth.
    pub async fn believe(&self, instances: &[ChurnedInstance]) {
        let registered = self.registered().await;
        for ChurnedInstance { app, id, .. } in instances {
            let is_there = registered.get(app).is_some_and(|ids| ids.contains(id));
            if is_there {
                self.facts.registering(id);
            } else {
                self.facts.deregistered(id);
            }
        }
    }

    /// Writes a large route so many times, of about so many bytes.
    pub async fn write_large(&self, times: usize, bytes: usize) {
        let path = "a".repeat(bytes);
        for _ in 0..times {
            let rules = format!(r#"{{"rules":[{{"path":"/{path}","to":[{{"app":"probe"}}]}}]}}"#);
            self.keys.put("routes/large.example", rules).await;
        }
    }

    /// All instances that etcd has.
    pub async fn registered(&self) -> Registered {
        let (_, keys) = self.keys.everything().await;
        let mut registered = Registered::new();
        for kv in &keys {
            let name = kv.key.strip_prefix("instances/");
            if let Some((app, id)) = name.and_then(|name| name.split_once('/')) {
                let ids = registered.entry(app.to_owned()).or_default();
                ids.insert(id.to_owned());
            }
        }
        registered
    }

    /// Forgets all history up to now.
    pub async fn compact(&self) -> Result<()> {
        let revision = self.keys.revision().await;
        Ok(self.keys.compact(revision).await?)
    }
}
