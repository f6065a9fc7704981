//! From the configuration to a store and a sink.

use std::sync::Arc;

use pointsman_edges::source::ReportSource;
use pointsman_publish::sink::redis::{RedisOptions, RedisReports, RedisSink};
use pointsman_publish::sink::{Sink, SinkError};
use pointsman_store::Store;
use pointsman_store::etcd::{EtcdOptions, EtcdStore, EtcdTls};

use crate::config;

/// The registry in etcd, or, with `below`, only what lies under that key: the
/// key itself is then the empty string.
pub fn store(config: &config::Etcd, below: &str) -> Arc<dyn Store> {
    let shown = |secret: &config::Secret| secret.expose().to_owned();
    let login = config.login.as_ref();
    Arc::new(EtcdStore::new(EtcdOptions {
        endpoints: config.endpoints.clone(),
        user: login.map(|(user, password)| (user.clone(), shown(password))),
        tls: config.tls.as_ref().map(|tls| EtcdTls {
            ca: tls.ca.as_ref().map(shown),
            identity: tls
                .identity
                .as_ref()
                .map(|(cert, key)| (shown(cert), shown(key))),
        }),
        prefix: format!("{}{below}", config.prefix),
    }))
}

/// The table in Redis.
pub fn sink(config: &config::Redis) -> Result<Arc<dyn Sink>, SinkError> {
    Ok(Arc::new(RedisSink::with(&redis(config))?))
}

/// The reports of edges in Redis.
pub fn reports(config: &config::Redis) -> Result<Arc<dyn ReportSource>, SinkError> {
    Ok(Arc::new(RedisReports::with(&redis(config))?))
}

fn redis(config: &config::Redis) -> RedisOptions {
    let sentinel = config.sentinel.as_ref();
    RedisOptions {
        url: config.url.expose().to_owned(),
        ca: config.ca.as_ref().map(|ca| ca.expose().into()),
        sentinel: sentinel.map(|(user, password)| (user.clone(), password.expose().to_owned())),
        prefix: config.prefix.clone(),
        stream_length: config.stream_length,
    }
}
