//! What Redis must hold: derived from a fresh listing of etcd by the agent's
//! own pure table, and compared with what is there.

use std::collections::BTreeMap;

use pointsman_mirror::table::Table;
use pointsman_store::{KeyValue, Revision};
use redis::aio::MultiplexedConnection;

use crate::registry::Registry;

/// Where the records lie in Redis.
pub const REDIS_PREFIX: &str = "pointsman:";

/// Records by key, or by key and field.
pub type Records = BTreeMap<String, String>;

/// A table of these keys.
pub fn table_of(revision: Revision, keys: &[KeyValue]) -> Table {
    let mut table = Table::new();
    keys.iter().for_each(|kv| table.load(kv));
    table.loaded(revision);
    table
}

/// A table of all that etcd holds now.
pub async fn fresh_table(registry: &Registry) -> Table {
    let (revision, keys) = registry.everything().await;
    table_of(revision, &keys)
}

/// What a table derives to.
pub fn derived(table: &Table) -> Records {
    let records = table.records(None, usize::MAX).into_iter();
    records
        .map(|change| {
            let value = change.value.unwrap_or_default().into_string();
            (change.element.to_string(), value)
        })
        .collect()
}

/// What Redis holds; a key of another type than it should have is an error.
pub async fn held(redis: &mut MultiplexedConnection) -> Result<Records, String> {
    let pattern = format!("{REDIS_PREFIX}*");
    let keys: Vec<String> = call(redis, redis::cmd("KEYS").arg(pattern)).await?;
    let mut records = Records::new();
    for key in keys {
        let name = key[REDIS_PREFIX.len()..].to_owned();
        if name.starts_with("inst:") {
            let fields: Records = call(redis, redis::cmd("HGETALL").arg(&key)).await?;
            let fields = fields.into_iter();
            records.extend(fields.map(|(field, value)| (format!("{name} {field}"), value)));
        } else if !["meta", "changes", "heard"].contains(&&*name) && !name.starts_with("edge:") {
            // It may have gone since.
            let value: Option<String> = call(redis, redis::cmd("GET").arg(&key)).await?;
            records.extend(value.map(|value| (name, value)));
        }
    }
    Ok(records)
}

/// Fails with the differences, one a line, if Redis does not hold what etcd
/// derives to.
pub async fn in_step(registry: &Registry, redis: &mut MultiplexedConnection) -> Result<(), String> {
    let expected = derived(&fresh_table(registry).await);
    compare(&expected, &held(redis).await?)
}

/// The same for any two.
pub fn compare(expected: &Records, found: &Records) -> Result<(), String> {
    let missing = expected.iter().filter(|(key, _)| !found.contains_key(*key));
    let left = found.iter().filter(|(key, _)| !expected.contains_key(*key));
    let other = expected.iter().filter_map(|(key, value)| {
        let there = found.get(key).filter(|there| *there != value)?;
        Some(format!("{key} should be {value}, is {there}"))
    });
    let differences: Vec<String> = missing
        .map(|(key, value)| format!("{key} should be {value}, is missing"))
        .chain(left.map(|(key, value)| format!("{key} should not exist, is {value}")))
        .chain(other)
        .collect();
    if differences.is_empty() {
        Ok(())
    } else {
        Err(differences.join("\n"))
    }
}

/// A connection to a Redis.
pub async fn connect(url: &str) -> Result<MultiplexedConnection, String> {
    let client = redis::Client::open(url).unwrap();
    let connection = client.get_multiplexed_async_connection().await;
    connection.map_err(|error| error.to_string())
}

/// A field of `meta`.
pub async fn meta(redis: &mut MultiplexedConnection, field: &str) -> Option<String> {
    let mut command = redis::cmd("HGET");
    command.arg(format!("{REDIS_PREFIX}meta")).arg(field);
    command.query_async(redis).await.unwrap()
}

async fn call<T: redis::FromRedisValue>(
    redis: &mut MultiplexedConnection,
    command: &redis::Cmd,
) -> Result<T, String> {
    let answer = command.query_async(redis).await;
    answer.map_err(|error| error.to_string())
}
