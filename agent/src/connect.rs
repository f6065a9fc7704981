//! From the configuration to a store and a sink.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use etcd_client::{Certificate, Identity, TlsOptions};
use tokio::sync::OnceCell;

use crate::config;
use crate::sink::redis::RedisSink;
use crate::sink::{Sink, SinkError};
use crate::store::etcd::{EtcdOptions, EtcdStore};
use crate::store::{
    Condition, KeyValue, LeaseId, Page, Revision, Store, StoreError, Watch, Written,
};

/// The registry in etcd, or, with `below`, only what lies under that key: the
/// key itself is then the empty string.
pub fn store(config: &config::Etcd, below: &str) -> Arc<dyn Store> {
    let tls = config.tls.as_ref().map(|tls| {
        let options = match &tls.ca {
            Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca.expose())),
            None => TlsOptions::new().with_native_roots(),
        };
        match &tls.identity {
            Some((cert, key)) => options.identity(Identity::from_pem(cert.expose(), key.expose())),
            None => options,
        }
    });
    let login = config.login.as_ref();
    Arc::new(LazyStore {
        options: EtcdOptions {
            endpoints: config.endpoints.clone(),
            user: login.map(|(user, password)| (user.clone(), password.expose().to_owned())),
            tls,
            prefix: format!("{}{below}", config.prefix),
        },
        store: OnceCell::new(),
    })
}

/// The table in Redis.
pub fn sink(config: &config::Redis) -> Result<Arc<dyn Sink>, SinkError> {
    let sink = RedisSink::new(config.url.expose(), &config.prefix, config.stream_length)?;
    Ok(Arc::new(sink))
}

/// A store that connects at its first use. With authentication, connecting
/// needs an etcd that answers; an agent must start without one.
struct LazyStore {
    options: EtcdOptions,
    store: OnceCell<EtcdStore>,
}

impl fmt::Debug for LazyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LazyStore");
        shown.field("endpoints", &self.options.endpoints);
        shown
            .field("prefix", &self.options.prefix)
            .finish_non_exhaustive()
    }
}

impl LazyStore {
    async fn connected(&self) -> Result<&EtcdStore, StoreError> {
        let connect = || EtcdStore::connect(self.options.clone());
        self.store.get_or_try_init(connect).await
    }
}

#[async_trait]
impl Store for LazyStore {
    async fn list(
        &self,
        from: &str,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.connected().await?.list(from, limit, at).await
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        self.connected().await?.get(key).await
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.connected().await?.watch(from).await
    }

    async fn put(
        &self,
        key: &str,
        value: &[u8],
        lease: LeaseId,
        condition: Condition,
    ) -> Result<Written, StoreError> {
        self.connected()
            .await?
            .put(key, value, lease, condition)
            .await
    }

    async fn delete(&self, key: &str, condition: Condition) -> Result<Written, StoreError> {
        self.connected().await?.delete(key, condition).await
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        self.connected().await?.lease_grant(ttl).await
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<u64, StoreError> {
        self.connected().await?.lease_renew(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.connected().await?.lease_revoke(lease).await
    }
}
