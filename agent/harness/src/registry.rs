//! The registry's keys in etcd, written as a registrator would: what is not
//! acknowledged is tried again.

use std::fmt::Display;
use std::time::Duration;

use etcd_client::{
    Client, CompactionOptions, ConnectOptions, DeleteOptions, Error, GetOptions, KvClient,
    PutOptions, Txn, TxnOp, WatchOptions, WatchStream,
};
use pointsman_store::KeyValue;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Where the registry lies.
pub const PREFIX: &str = "/pointsman/";

/// The user, and the role, that may do everything once authentication is on.
pub const ROOT: &str = "root";

/// An etcd that is paused answers late; this is longer than any fault.
const ANSWER: Duration = Duration::from_secs(30);
/// Longer than any fault takes etcd away.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Operations of one transaction: etcd's own limit is 128.
const CHUNK: usize = 100;
/// Transactions at the same time.
const TASKS: usize = 16;

/// Who logs in to etcd.
#[derive(Clone)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// A client of etcd. Keys are without the prefix, writes answer the revision.
///
/// A call is tried again until etcd has acknowledged it, for a minute at most;
/// then it panics. The `try_` ones are made once.
#[derive(Clone)]
pub struct Registry {
    client: Client,
}

impl Registry {
    /// To etcd at these URLs, with commas between.
    pub async fn connect(urls: &str) -> Self {
        Self::connect_as(urls, None).await
    }

    /// The same with a login.
    pub async fn connect_as(urls: &str, login: Option<&Login>) -> Self {
        let urls: Vec<&str> = urls.split(',').collect();
        let options = login.map(|Login { user, password }| {
            let options = ConnectOptions::new().with_auto_token_refresh(true);
            options.with_user(user, password)
        });
        Self {
            client: Client::connect(urls, options).await.unwrap(),
        }
    }

    /// Begins nothing at this member of etcd any more.
    pub async fn avoid(&self, url: &str) {
        self.client.remove_endpoint(url).await.unwrap();
    }

    /// Takes it in again.
    pub async fn use_again(&self, url: &str) {
        self.client.add_endpoint(url).await.unwrap();
    }

    /// Writes a key.
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> i64 {
        self.put_leased(key, value, 0).await
    }

    /// Writes a key that hangs on a lease.
    pub async fn put_leased(&self, key: &str, value: impl Into<Vec<u8>>, lease: i64) -> i64 {
        let (key, value) = (key.to_owned(), value.into());
        let lease = (lease != 0).then_some(lease);
        self.insist(&format!("put {key}"), |registry| {
            let (key, value) = (key.clone(), value.clone());
            async move { registry.try_put(&key, value, lease).await }
        })
        .await
    }

    /// Writes a key.
    pub async fn try_put(
        &self,
        key: &str,
        value: impl Into<Vec<u8>>,
        lease: Option<i64>,
    ) -> Result<i64, Error> {
        let options = lease.map(|lease| PutOptions::new().with_lease(lease));
        let answer = self.kv().put(full(key), value, options).await?;
        Ok(answer.header().unwrap().revision())
    }

    /// Deletes a key.
    pub async fn delete(&self, key: &str) -> i64 {
        self.delete_with(key, DeleteOptions::new()).await
    }

    /// Deletes all keys that begin so.
    pub async fn delete_prefix(&self, prefix: &str) -> i64 {
        self.delete_with(prefix, DeleteOptions::new().with_prefix())
            .await
    }

    async fn delete_with(&self, key: &str, options: DeleteOptions) -> i64 {
        self.insist(&format!("delete {key}"), |registry| {
            let (key, options) = (full(key), options.clone());
            async move {
                let answer = registry.kv().delete(key, Some(options)).await?;
                Ok(answer.header().unwrap().revision())
            }
        })
        .await
    }

    /// An instance of an app, in the short form.
    pub async fn put_instance(&self, app: &str, id: &str, addr: impl Display) -> i64 {
        self.put(&format!("instances/{app}/{id}"), addr.to_string())
            .await
    }

    /// Deletes an instance.
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
        self.insist(&format!("get {key}"), |registry| {
            let key = key.to_owned();
            async move { registry.try_get(&key).await }
        })
        .await
    }

    /// The same.
    pub async fn try_get(&self, key: &str) -> Result<Option<(String, i64)>, Error> {
        let answer = self.kv().get(full(key), None).await?;
        let found = answer.kvs().first();
        Ok(found.map(|kv| (kv.value_str().unwrap().to_owned(), kv.lease())))
    }

    /// All keys of the registry, and etcd's revision.
    pub async fn everything(&self) -> (i64, Vec<KeyValue>) {
        let answer = self
            .insist("list", |registry| async move {
                let options = GetOptions::new().with_prefix();
                registry.kv().get(PREFIX, Some(options)).await
            })
            .await;
        let keys = answer.kvs().iter().map(|kv| KeyValue {
            key: kv.key_str().unwrap()[PREFIX.len()..].to_owned(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            lease: kv.lease(),
        });
        (answer.header().unwrap().revision(), keys.collect())
    }

    /// The instances that hang on a lease. (So do the agents' own keys, for as
    /// long as they run.)
    pub async fn leased_instances(&self) -> Vec<String> {
        let (_, keys) = self.everything().await;
        let leased = keys
            .into_iter()
            .filter(|kv| kv.lease != 0 && kv.key.starts_with("instances/"));
        leased.map(|kv| kv.key).collect()
    }

    /// etcd's revision.
    pub async fn revision(&self) -> i64 {
        self.insist("get the revision", |registry| async move {
            let options = GetOptions::new().with_count_only();
            let answer = registry.kv().get(PREFIX, Some(options)).await?;
            Ok(answer.header().unwrap().revision())
        })
        .await
    }

    /// Grants a lease of so many seconds.
    pub async fn grant(&self, ttl: i64) -> i64 {
        self.insist("grant a lease", |registry| async move {
            let mut leases = registry.client.lease_client();
            Ok(leases.grant(ttl, None).await?.id())
        })
        .await
    }

    /// Ends a lease.
    pub async fn revoke(&self, lease: i64) {
        self.try_revoke(lease).await.unwrap();
    }

    /// The same.
    pub async fn try_revoke(&self, lease: i64) -> Result<(), Error> {
        self.client.lease_client().revoke(lease).await.map(drop)
    }

    /// Writes keys and deletes one, in one revision.
    pub async fn transaction(&self, puts: &[(String, String)], delete: &str) {
        let puts = puts.iter();
        let mut operations: Vec<TxnOp> = puts
            .map(|(key, value)| TxnOp::put(full(key), value.as_str(), None))
            .collect();
        operations.push(TxnOp::delete(full(delete), None));
        let transaction = Txn::new().and_then(operations);
        self.insist("write in one transaction", |registry| {
            let transaction = transaction.clone();
            async move { registry.kv().txn(transaction).await }
        })
        .await;
    }

    /// Writes all of these, in transactions from many tasks, as fast as one
    /// node takes them.
    pub async fn put_all(&self, entries: impl IntoIterator<Item = (String, String)>) -> i64 {
        let entries = entries.into_iter();
        self.put_keys(entries.map(|(key, value)| (full(&key), value)))
            .await
    }

    /// The same for keys anywhere in etcd.
    pub async fn put_keys(&self, entries: impl IntoIterator<Item = (String, String)>) -> i64 {
        let mut entries = entries.into_iter().peekable();
        let mut tasks = JoinSet::new();
        let mut revision = 0;
        while entries.peek().is_some() || !tasks.is_empty() {
            while tasks.len() < TASKS && entries.peek().is_some() {
                let chunk: Vec<TxnOp> = entries
                    .by_ref()
                    .take(CHUNK)
                    .map(|(key, value)| TxnOp::put(key, value, None))
                    .collect();
                let registry = self.clone();
                tasks.spawn(async move {
                    let transaction = Txn::new().and_then(chunk);
                    let done = registry.kv().txn(transaction).await.unwrap();
                    done.header().unwrap().revision()
                });
            }
            if let Some(done) = tasks.join_next().await {
                revision = revision.max(done.unwrap());
            }
        }
        revision
    }

    /// Forgets all history up to a revision.
    pub async fn compact(&self, revision: i64) -> Result<(), Error> {
        let options = CompactionOptions::new().with_physical();
        let compacted = self.kv().compact(revision, Some(options)).await;
        compacted.map(drop)
    }

    /// Watches a key.
    pub async fn watch(&self, key: &str) -> WatchStream {
        let options: Option<WatchOptions> = None;
        let mut watches = self.client.watch_client();
        watches.watch(full(key), options).await.unwrap()
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client()
    }

    /// Calls again what may be repeated, until etcd has acknowledged it.
    async fn insist<T, F>(&self, what: &str, call: impl Fn(Self) -> F) -> T
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begin = Instant::now();
        loop {
            let last = match timeout(ANSWER, Box::pin(call(self.clone()))).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            if begin.elapsed() > PATIENCE {
                panic!("etcd did not {what} within {PATIENCE:?}: {last}");
            }
            sleep(PAUSE).await;
        }
    }
}

fn full(key: &str) -> String {
    format!("{PREFIX}{key}")
}
