//! Fills etcd: transactions from many tasks, as fast as one node takes them.

use anyhow::{Context, Result};
use etcd_client::{Client, Txn, TxnOp};
use tokio::task::JoinSet;

/// Operations of one transaction: etcd's own limit is 128.
const CHUNK: usize = 100;
const TASKS: usize = 16;

/// Puts these keys of the registry (without the prefix `/pointsman/`); answers
/// etcd's revision once all are in.
pub async fn put_all(
    etcd_url: &str,
    entries: impl Iterator<Item = (String, String)>,
) -> Result<i64> {
    let entries = entries.map(|(key, value)| (format!("/pointsman/{key}"), value));
    put_keys(etcd_url, entries).await
}

/// The same for any keys.
pub async fn put_keys(
    etcd_url: &str,
    entries: impl Iterator<Item = (String, String)>,
) -> Result<i64> {
    let client = Client::connect([etcd_url], None).await?;
    let mut entries = entries.peekable();
    let mut tasks = JoinSet::new();
    let mut revision = 0;
    while entries.peek().is_some() || !tasks.is_empty() {
        while tasks.len() < TASKS && entries.peek().is_some() {
            let chunk: Vec<TxnOp> = entries
                .by_ref()
                .take(CHUNK)
                .map(|(key, value)| TxnOp::put(key, value, None))
                .collect();
            let client = client.clone();
            tasks.spawn(async move {
                let done = client.kv_client().txn(Txn::new().and_then(chunk)).await?;
                let header = done.header().context("an answer without a header")?;
                anyhow::Ok(header.revision())
            });
        }
        if let Some(done) = tasks.join_next().await {
            revision = revision.max(done??);
        }
    }
    Ok(revision)
}

/// An entry that binds a host to an app.
pub fn route(host: &str, app: &str) -> (String, String) {
    (format!("routes/{host}"), format!(r#"{{"app":"{app}"}}"#))
}

/// An entry that registers an instance.
pub fn instance(app: &str, id: &str, addr: std::net::SocketAddr) -> (String, String) {
    (format!("instances/{app}/{id}"), addr.to_string())
}
