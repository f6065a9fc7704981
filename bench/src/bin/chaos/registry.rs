//! The registry in etcd, as a registrator writes it: what is not acknowledged is
//! tried again, until it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use etcd_client::{Client, CompactionOptions, ConnectOptions, GetOptions};
use pointsman_store::KeyValue;
use tokio::time::{Instant, sleep, timeout};

use crate::facts::Facts;
use crate::instances::Instance;

const PREFIX: &str = "/pointsman/";
/// An etcd that is paused answers late; that is longer than any fault.
const ANSWER: Duration = Duration::from_secs(30);
/// Longer than any fault takes etcd away.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// The user, and the role, that may do everything once authentication is on.
pub const ROOT: &str = "root";
/// What others than agents wrote.
const CONTENT: [&str; 4] = ["apps/", "instances/", "routes/", "settings"];

/// Who logs in to etcd.
#[derive(Clone)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Ids of instances by app.
pub type Registered = BTreeMap<String, BTreeSet<String>>;

/// A client of etcd. Keys are without the prefix.
#[derive(Clone)]
pub struct Registry {
    client: Client,
    facts: Arc<Facts>,
}

impl Registry {
    /// To etcd at these URLs, with commas between.
    pub async fn connect(urls: &str, login: Option<&Login>, facts: &Arc<Facts>) -> Result<Self> {
        let urls: Vec<&str> = urls.split(',').collect();
        let options = login.map(|Login { user, password }| {
            let options = ConnectOptions::new().with_auto_token_refresh(true);
            options.with_user(user, password)
        });
        Ok(Self {
            client: Client::connect(urls, options).await?,
            facts: Arc::clone(facts),
        })
    }

    /// Begins nothing at this member of etcd any more.
    pub async fn avoid(&self, url: &str) -> Result<()> {
        Ok(self.client.remove_endpoint(url).await?)
    }

    /// Takes it in again.
    pub async fn use_again(&self, url: &str) -> Result<()> {
        Ok(self.client.add_endpoint(url).await?)
    }

    pub async fn register(&self, instance: &Instance) -> Result<()> {
        self.facts.registering(&instance.id);
        self.put(&instance.key(), instance.addr.to_string()).await
    }

    pub async fn deregister(&self, instance: &Instance) -> Result<()> {
        let key = format!("{PREFIX}{}", instance.key());
        let client = self.client.clone();
        insist("delete", move || {
            let (mut kv, key) = (client.kv_client(), key.clone());
            async move { kv.delete(key, None).await }
        })
        .await?;
        self.facts.deregistered(&instance.id);
        Ok(())
    }

    /// Binds a host to an app.
    pub async fn bind(&self, host: &str, app: &str) -> Result<()> {
        let value = format!(r#"{{"app":"{app}"}}"#);
        self.put(&format!("routes/{host}"), value).await
    }

    /// All that others than agents wrote.
    pub async fn content(&self) -> Result<Vec<KeyValue>> {
        let (_, mut keys) = self.everything().await?;
        keys.retain(|kv| CONTENT.iter().any(|of| kv.key.starts_with(of)));
        Ok(keys)
    }

    /// Writes it again.
    pub async fn write(&self, content: &[KeyValue]) -> Result<()> {
        for kv in content {
            self.put(&kv.key, kv.value.clone()).await?;
        }
        Ok(())
    }

    /// Takes what etcd has of these instances for the truth.
    pub async fn believe(&self, instances: &[Instance]) -> Result<()> {
        let registered = self.registered().await?;
        for Instance { app, id, .. } in instances {
            let is_there = registered.get(app).is_some_and(|ids| ids.contains(id));
            if is_there {
                self.facts.registering(id);
            } else {
                self.facts.deregistered(id);
            }
        }
        Ok(())
    }

    /// Writes a large route so many times, of about so many bytes.
    pub async fn write_large(&self, times: usize, bytes: usize) -> Result<()> {
        let path = "a".repeat(bytes);
        for _ in 0..times {
            let rules = format!(r#"{{"rules":[{{"path":"/{path}","to":[{{"app":"probe"}}]}}]}}"#);
            self.put("routes/large.example", rules).await?;
        }
        Ok(())
    }

    async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<()> {
        let key = format!("{PREFIX}{key}");
        let (client, value) = (self.client.clone(), value.into());
        insist("put", move || {
            let (mut kv, key, value) = (client.kv_client(), key.clone(), value.clone());
            async move { kv.put(key, value, None).await }
        })
        .await
        .map(drop)
    }

    /// All keys of the registry, and etcd's revision.
    pub async fn everything(&self) -> Result<(i64, Vec<KeyValue>)> {
        let client = self.client.clone();
        let answer = insist("list", move || {
            let options = GetOptions::new().with_prefix();
            let mut kv = client.kv_client();
            async move { kv.get(PREFIX, Some(options)).await }
        })
        .await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        let mut keys = Vec::new();
        for kv in answer.kvs() {
            let key = kv.key_str()?;
            keys.push(KeyValue {
                key: key.strip_prefix(PREFIX).unwrap_or(key).to_owned(),
                value: kv.value().to_vec(),
                create_revision: kv.create_revision(),
                mod_revision: kv.mod_revision(),
                lease: kv.lease(),
            });
        }
        Ok((revision, keys))
    }

    /// All instances that etcd has.
    pub async fn registered(&self) -> Result<Registered> {
        let (_, keys) = self.everything().await?;
        let mut registered = Registered::new();
        for KeyValue { key, .. } in &keys {
            let name = key.strip_prefix("instances/");
            if let Some((app, id)) = name.and_then(|name| name.split_once('/')) {
                let ids = registered.entry(app.to_owned()).or_default();
                ids.insert(id.to_owned());
            }
        }
        Ok(registered)
    }

    /// Forgets all history up to now.
    pub async fn compact(&self) -> Result<()> {
        let (revision, _) = self.everything().await?;
        let options = CompactionOptions::new().with_physical();
        timeout(
            ANSWER,
            self.client.kv_client().compact(revision, Some(options)),
        )
        .await??;
        Ok(())
    }
}

/// Calls again what may be repeated, until etcd has acknowledged it.
async fn insist<T>(what: &str, call: impl AsyncFn() -> Result<T, etcd_client::Error>) -> Result<T> {
    let begin = Instant::now();
    loop {
        let last = match timeout(ANSWER, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        if begin.elapsed() > PATIENCE {
            bail!("etcd did not take a {what} in {PATIENCE:?}: {last}");
        }
        sleep(PAUSE).await;
    }
}
