//! The registry's keys in etcd, written as a registrator would.

use etcd_client::{
    Client, CompactionOptions, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp, WatchOptions,
    WatchStream,
};

/// Where the registry lies.
pub const PREFIX: &str = "/pointsman/";

/// A client of etcd. Keys are without the prefix.
#[derive(Clone)]
pub struct Registry {
    client: Client,
}

impl Registry {
    pub async fn connect(url: &str) -> Self {
        Self {
            client: Client::connect([url], None).await.unwrap(),
        }
    }

    /// Writes a key; answers the revision.
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> i64 {
        self.try_put(key, value, None).await.unwrap()
    }

    /// Writes a key that hangs on a lease.
    pub async fn put_leased(&self, key: &str, value: impl Into<Vec<u8>>, lease: i64) -> i64 {
        self.try_put(key, value, Some(lease)).await.unwrap()
    }

    pub async fn try_put(
        &self,
        key: &str,
        value: impl Into<Vec<u8>>,
        lease: Option<i64>,
    ) -> Result<i64, etcd_client::Error> {
        let options = lease.map(|lease| PutOptions::new().with_lease(lease));
        let answer = self
            .client
            .kv_client()
            .put(format!("{PREFIX}{key}"), value, options)
            .await?;
        Ok(answer.header().unwrap().revision())
    }

    /// Deletes a key; answers the revision.
    pub async fn delete(&self, key: &str) -> i64 {
        let answer = self
            .client
            .kv_client()
            .delete(format!("{PREFIX}{key}"), None)
            .await
            .unwrap();
        answer.header().unwrap().revision()
    }

    /// Deletes all keys that begin so; answers the revision.
    pub async fn delete_prefix(&self, prefix: &str) -> i64 {
        let options = DeleteOptions::new().with_prefix();
        let key = format!("{PREFIX}{prefix}");
        let answer = self
            .client
            .kv_client()
            .delete(key, Some(options))
            .await
            .unwrap();
        answer.header().unwrap().revision()
    }

    /// An instance of an app, in the short form.
    pub async fn put_instance(&self, app: &str, id: &str, addr: impl std::fmt::Display) -> i64 {
        self.put(&format!("instances/{app}/{id}"), addr.to_string())
            .await
    }

    pub async fn delete_instance(&self, app: &str, id: &str) -> i64 {
        self.delete(&format!("instances/{app}/{id}")).await
    }

    /// A route, as the admin API stores it.
    pub async fn put_route(&self, host: &str, app: &str) -> i64 {
        let rules = format!(r#"{{"rules":[{{"path":"/","to":[{{"app":"{app}"}}]}}]}}"#);
        self.put(&format!("routes/{host}"), rules).await
    }

    /// A key's value and its lease, if it exists.
    pub async fn get(&self, key: &str) -> Option<(String, i64)> {
        self.try_get(key).await.unwrap()
    }

    pub async fn try_get(&self, key: &str) -> Result<Option<(String, i64)>, etcd_client::Error> {
        let answer = self
            .client
            .kv_client()
            .get(format!("{PREFIX}{key}"), None)
            .await?;
        Ok(answer
            .kvs()
            .first()
            .map(|kv| (kv.value_str().unwrap().to_owned(), kv.lease())))
    }

    /// etcd's revision.
    pub async fn revision(&self) -> i64 {
        let options = GetOptions::new().with_count_only();
        let answer = self
            .client
            .kv_client()
            .get(PREFIX, Some(options))
            .await
            .unwrap();
        answer.header().unwrap().revision()
    }

    pub async fn grant(&self, ttl: i64) -> i64 {
        self.client
            .lease_client()
            .grant(ttl, None)
            .await
            .unwrap()
            .id()
    }

    pub async fn revoke(&self, lease: i64) {
        self.try_revoke(lease).await.unwrap();
    }

    pub async fn try_revoke(&self, lease: i64) -> Result<(), etcd_client::Error> {
        self.client.lease_client().revoke(lease).await.map(drop)
    }

    /// The instances that hang on a lease. (So do the agents' own keys, for as
    /// long as they run.)
    pub async fn leased_instances(&self) -> Vec<String> {
        let options = GetOptions::new().with_prefix().with_keys_only();
        let prefix = format!("{PREFIX}instances/");
        let answer = self
            .client
            .kv_client()
            .get(prefix, Some(options))
            .await
            .unwrap();
        let leased = answer.kvs().iter().filter(|kv| kv.lease() != 0);
        leased.map(|kv| kv.key_str().unwrap().to_owned()).collect()
    }

    /// Writes keys and deletes one, in one revision.
    pub async fn transaction(&self, puts: &[(String, String)], delete: &str) {
        let mut operations: Vec<TxnOp> = puts
            .iter()
            .map(|(key, value)| TxnOp::put(format!("{PREFIX}{key}"), value.as_str(), None))
            .collect();
        operations.push(TxnOp::delete(format!("{PREFIX}{delete}"), None));
        self.client
            .kv_client()
            .txn(Txn::new().and_then(operations))
            .await
            .unwrap();
    }

    pub async fn compact(&self, revision: i64) -> Result<(), etcd_client::Error> {
        let options = CompactionOptions::new().with_physical();
        self.client
            .kv_client()
            .compact(revision, Some(options))
            .await
            .map(drop)
    }

    /// Watches a key.
    pub async fn watch(&self, key: &str) -> WatchStream {
        let options: Option<WatchOptions> = None;
        let key = format!("{PREFIX}{key}");
        self.client
            .watch_client()
            .watch(key, options)
            .await
            .unwrap()
    }
}
