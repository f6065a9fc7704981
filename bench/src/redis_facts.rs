//! What a Redis says about itself.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;

/// To empty a large Redis takes more than the client's own half second.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that waits for its answers.
pub async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(url)?;
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    Ok(connection.await?)
}

/// A connection for questions.
pub struct RedisFacts {
    connection: MultiplexedConnection,
}

/// Its counters at one moment.
#[derive(Clone, Debug)]
pub struct Counters {
    fields: HashMap<String, String>,
}

impl RedisFacts {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self> {
        let connection = connect(url).await?;
        Ok(Self { connection })
    }

    /// All of `INFO`.
    pub async fn counters(&mut self) -> Result<Counters> {
        let mut command = redis::cmd("INFO");
        command.arg("all");
        let text: String = command.query_async(&mut self.connection).await?;
        let fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(Counters {
            fields: fields
                .map(|(name, value)| (name.to_owned(), value.trim_end().to_owned()))
                .collect(),
        })
    }

    /// The revision of the table that it holds; `None` while it is not whole.
    pub async fn revision(&mut self) -> Result<Option<i64>> {
        let mut command = redis::cmd("HMGET");
        command.arg("pointsman:meta").arg("rev").arg("state");
        let (rev, state): (Option<i64>, Option<String>) =
            command.query_async(&mut self.connection).await?;
        Ok(rev.filter(|_| state.as_deref() == Some("ready")))
    }

    /// How many keys it holds.
    pub async fn size(&mut self) -> Result<u64> {
        Ok(redis::cmd("DBSIZE")
            .query_async(&mut self.connection)
            .await?)
    }

    /// Empties it.
    pub async fn flush(&mut self) -> Result<()> {
        let _ok: redis::Value = redis::cmd("FLUSHALL")
            .query_async(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Empties it at once, as a restart would: what was there is freed beside
    /// its work.
    pub async fn lose_all(&mut self) -> Result<()> {
        let _ok: redis::Value = redis::cmd("FLUSHALL")
            .arg("ASYNC")
            .query_async(&mut self.connection)
            .await?;
        Ok(())
    }

    /// Holds back all its answers for so many milliseconds.
    pub async fn pause(&mut self, millis: u64) -> Result<()> {
        let mut command = redis::cmd("CLIENT");
        command.arg("PAUSE").arg(millis).arg("ALL");
        let _ok: redis::Value = command.query_async(&mut self.connection).await?;
        Ok(())
    }
}

impl Counters {
    /// A number among its fields.
    pub fn number(&self, name: &str) -> Result<u64> {
        let value = self.fields.get(name);
        let value = value.with_context(|| format!("INFO has no {name}"))?;
        Ok(value.parse()?)
    }

    /// How often a command was called, within scripts, too.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.fields.get(&format!("cmdstat_{command}"));
        let calls = stats.and_then(|text| text.strip_prefix("calls=")?.split(',').next());
        calls.and_then(|calls| calls.parse().ok()).unwrap_or(0)
    }

    /// Look-ups of edges that found an app: each reads its instances once.
    pub fn found(&self) -> u64 {
        self.calls("hgetall")
    }

    /// Look-ups of edges: the scripts that were run, without those of the feed,
    /// which read the end of the stream. (What an agent runs counts as well.)
    pub fn lookups(&self) -> u64 {
        let scripts = self.calls("evalsha") + self.calls("eval");
        scripts.saturating_sub(self.calls("xrevrange"))
    }
}
