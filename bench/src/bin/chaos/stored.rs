//! Whether Redis holds what etcd derives to, by the agent's own pure table.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use pointsman_dev::wait;
use pointsman_mirror::table::Table;
use redis::aio::MultiplexedConnection;

use crate::registry::Registry;

const PREFIX: &str = "pointsman:";

/// Records by key, or by key and field.
type Records = BTreeMap<String, String>;

/// Waits until it does.
pub async fn in_step(registry: &Registry, redis_url: &str, limit: Duration) -> Result<(), String> {
    let derives = "Redis holds what etcd derives to";
    let found = wait::until(derives, limit, async || {
        let expected = expected(registry).await.map_err(|e| e.to_string())?;
        let held = held(redis_url).await.map_err(|e| e.to_string())?;
        let keys = expected.keys().chain(held.keys());
        let differs = keys
            .filter(|key| expected.get(*key) != held.get(*key))
            .map(|key| {
                let (there, wanted) = (held.get(key), expected.get(key));
                format!("{key} is {there:?}, should be {wanted:?}")
            })
            .next();
        differs.map_or(Ok(()), Err)
    });
    found.await.map_err(|timed_out| timed_out.to_string())
}

async fn expected(registry: &Registry) -> Result<Records> {
    let (revision, keys) = registry.everything().await?;
    let mut table = Table::new();
    for key in &keys {
        table.load(key);
    }
    table.loaded(revision);
    let records = table.records(None, usize::MAX).into_iter();
    Ok(records
        .map(|record| {
            let value = record.value.unwrap_or_default().into_string();
            (record.element.to_string(), value)
        })
        .collect())
}

async fn held(url: &str) -> Result<Records> {
    let client = redis::Client::open(url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let pattern = format!("{PREFIX}*");
    let keys: Vec<String> = ask(&mut connection, &["KEYS", &pattern]).await?;
    let mut records = Records::new();
    for key in keys {
        let name = key.strip_prefix(PREFIX).unwrap_or(&key);
        if name.starts_with("inst:") {
            let fields: Records = ask(&mut connection, &["HGETALL", &key]).await?;
            records.extend(
                fields
                    .into_iter()
                    .map(|(field, value)| (format!("{name} {field}"), value)),
            );
        } else if name != "meta" && name != "changes" {
            // It may have gone since.
            let value: Option<String> = ask(&mut connection, &["GET", &key]).await?;
            records.extend(value.map(|value| (name.to_owned(), value)));
        }
    }
    Ok(records)
}

async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &[&str],
) -> Result<T> {
    let mut asked = redis::cmd(command[0]);
    asked.arg(&command[1..]);
    Ok(asked.query_async(connection).await?)
}
