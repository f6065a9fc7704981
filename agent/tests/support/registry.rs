//! What Redis must hold: derived from a fresh listing of etcd by the agent's
//! own pure table, and compared with what is there.

use std::collections::BTreeMap;

use etcd_client::{Client, GetOptions};
use pointsman_mirror::table::Table;
use pointsman_store::KeyValue;
use redis::aio::MultiplexedConnection;

use super::etcd::PREFIX;

/// Where the records lie in Redis.
pub const REDIS_PREFIX: &str = "pointsman:";

/// Records by key, or by key and field.
pub type Records = BTreeMap<String, String>;

/// A table of all that etcd holds now.
pub async fn fresh_table(etcd_url: &str) -> Table {
    let client = Client::connect([etcd_url], None).await.unwrap();
    let options = GetOptions::new().with_prefix();
    let answer = client.kv_client().get(PREFIX, Some(options)).await.unwrap();
    let mut table = Table::new();
    for kv in answer.kvs() {
        table.load(&KeyValue {
            key: kv
                .key_str()
                .unwrap()
                .strip_prefix(PREFIX)
                .unwrap()
                .to_owned(),
            value: kv.value().to_vec(),
            create_revision: kv.create_revision(),
            mod_revision: kv.mod_revision(),
            lease: kv.lease(),
        });
    }
    table.loaded(answer.header().unwrap().revision());
    table
}

/// What a table derives to.
pub fn derived(table: &Table) -> Records {
    table
        .records(None, usize::MAX)
        .into_iter()
        .map(|change| {
            (
                change.element.to_string(),
                change.value.unwrap_or_default().into_string(),
            )
        })
        .collect()
}

/// What Redis holds; a key of another type than it should have is an error.
pub async fn held(redis: &mut MultiplexedConnection) -> Result<Records, String> {
    let pattern = format!("{REDIS_PREFIX}*");
    let keys: Vec<String> = call(redis, redis::cmd("KEYS").arg(pattern)).await?;
    let mut records = Records::new();
    for key in keys {
        let name = key.strip_prefix(REDIS_PREFIX).unwrap().to_owned();
        if name.starts_with("inst:") {
            let fields: BTreeMap<String, String> =
                call(redis, redis::cmd("HGETALL").arg(&key)).await?;
            for (field, value) in fields {
                records.insert(format!("{name} {field}"), value);
            }
        } else if name != "meta" && name != "changes" {
            // It may have gone since.
            let value: Option<String> = call(redis, redis::cmd("GET").arg(&key)).await?;
            records.extend(value.map(|value| (name, value)));
        }
    }
    Ok(records)
}

async fn call<T: redis::FromRedisValue>(
    redis: &mut MultiplexedConnection,
    command: &redis::Cmd,
) -> Result<T, String> {
    command
        .query_async(redis)
        .await
        .map_err(|error| error.to_string())
}

/// A field of `meta`.
pub async fn meta(redis: &mut MultiplexedConnection, field: &str) -> Option<String> {
    let key = format!("{REDIS_PREFIX}meta");
    redis::cmd("HGET")
        .arg(key)
        .arg(field)
        .query_async(redis)
        .await
        .unwrap()
}

/// The differences, one a line; empty if there is none.
pub fn differences(expected: &Records, found: &Records) -> Vec<String> {
    let missing = expected.iter().filter(|(key, _)| !found.contains_key(*key));
    let left = found.iter().filter(|(key, _)| !expected.contains_key(*key));
    let other = expected.iter().filter_map(|(key, value)| {
        let there = found.get(key).filter(|there| *there != value)?;
        Some(format!("{key} should be {value}, is {there}"))
    });
    missing
        .map(|(key, value)| format!("{key} should be {value}, is missing"))
        .chain(left.map(|(key, value)| format!("{key} should not exist, is {value}")))
        .chain(other)
        .collect()
}
