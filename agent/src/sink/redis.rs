//! Redis itself. The only file that knows the Redis client.

use std::fmt;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, RedisError, RedisResult,
    ServerErrorKind, cmd, pipe,
};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::script::{self, Call, META_FIELDS, Protocol, Script};
use super::{Batch, Claim, Found, Outcome, Reading, Scanned, Sink, SinkError, Step};
use crate::model::{Change, Element};
use crate::store::Revision;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A script of 500 records takes some milliseconds; a Redis that needs longer
/// than this is as good as gone, and the call will be repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const SCAN_COUNT: usize = 1000;

/// The table in one Redis.
pub struct RedisSink {
    client: Client,
    protocol: Protocol,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// The scripts with their hashes, by which Redis knows them.
    scripts: [::redis::Script; Script::ALL.len()],
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl RedisSink {
    /// A sink at `url` (`redis://`, `rediss://`, `redis+unix:`). Nothing is
    /// sent yet; a connection is made when it is needed, and made anew when it
    /// broke.
    pub fn new(url: &str, prefix: &str, stream_length: usize) -> Result<Self, SinkError> {
        let client = Client::open(url).map_err(|e| SinkError::Refused(Box::new(e)))?;
        Ok(Self {
            client,
            protocol: Protocol::new(prefix, stream_length),
            connection: Mutex::new(None),
            scripts: Script::ALL.map(|script| ::redis::Script::new(script.text())),
        })
    }

    /// The same sink as an agent of another version would have it.
    #[must_use]
    pub fn with_format(mut self, format: u32) -> Self {
        self.protocol.format = format;
        self
    }

    async fn connection(&self) -> Result<MultiplexedConnection, SinkError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(ANSWER_TIMEOUT));
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(classify)?;
        let info: String = cmd("INFO")
            .arg("cluster")
            .query_async(&mut connection)
            .await
            .map_err(classify)?;
        if info.contains("cluster_enabled:1") {
            return Err(SinkError::Unfit(
                "it runs in cluster mode, which spreads one batch over several nodes; \
                 use one Redis with replicas and Sentinel",
            ));
        }
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Ends a call: a connection that may be out of step is given up.
    async fn settle<T>(&self, answer: RedisResult<T>) -> Result<T, SinkError> {
        match answer {
            Ok(value) => Ok(value),
            Err(error) => {
                if error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error() {
                    *self.connection.lock().await = None;
                }
                Err(classify(error))
            }
        }
    }

    /// Runs a script: by its hash or, where Redis does not know that, by its
    /// text.
    async fn run<T: FromRedisValue>(&self, call: &Call) -> Result<T, SinkError> {
        let mut invocation = self.scripts[call.script as usize].prepare_invoke();
        invocation.key(&call.keys).arg(&call.args);
        let mut connection = self.connection().await?;
        let answer = invocation.invoke_async(&mut connection).await;
        self.settle(answer).await
    }
}

#[async_trait]
impl Sink for RedisSink {
    fn format(&self) -> u32 {
        self.protocol.format
    }

    async fn meta(&self) -> Result<Found, SinkError> {
        let mut connection = self.connection().await?;
        let answer: RedisResult<[Option<String>; 6]> = cmd("HMGET")
            .arg(self.protocol.key("meta"))
            .arg(&META_FIELDS)
            .query_async(&mut connection)
            .await;
        if let Err(error) = &answer
            && error.code() == Some("WRONGTYPE")
        {
            return Ok(Found::Broken("meta is not a hash".into()));
        }
        let fields = self.settle(answer).await?;
        Ok(script::found(fields))
    }

    async fn batch(&self, batch: &Batch) -> Result<Outcome, SinkError> {
        self.run(&self.protocol.batch(batch))
            .await
            .map(script::outcome)
    }

    async fn begin(&self, claim: &Claim) -> Result<Step, SinkError> {
        self.run(&self.protocol.begin(claim))
            .await
            .map(script::step)
    }

    async fn piece(&self, token: Revision, n: u64, changes: &[Change]) -> Result<Step, SinkError> {
        self.run(&self.protocol.piece(token, n, changes))
            .await
            .map(script::step)
    }

    async fn end(&self, token: Revision, n: u64, revision: Revision) -> Result<Step, SinkError> {
        self.run(&self.protocol.end(token, n, revision))
            .await
            .map(script::step)
    }

    async fn read(&self, elements: &[Element]) -> Result<Reading, SinkError> {
        self.run(&self.protocol.read(elements))
            .await
            .map(script::reading)
    }

    async fn scan(&self, cursor: u64) -> Result<Scanned, SinkError> {
        let mut connection = self.connection().await?;
        let answer: RedisResult<(u64, Vec<String>)> = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{}*", glob_escaped(&self.protocol.prefix)))
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .query_async(&mut connection)
            .await;
        let (next, keys) = self.settle(answer).await?;
        let mut elements = Vec::new();
        let mut hashes = Vec::new();
        for key in &keys {
            let Some((kind, name)) = key
                .strip_prefix(&self.protocol.prefix)
                .and_then(|key| key.split_once(':'))
            else {
                continue;
            };
            match kind {
                "route" => elements.push(Element::Route(name.into())),
                "app" => elements.push(Element::App(name.into())),
                "inst" => hashes.push((key, name)),
                _ => {}
            }
        }
        if !hashes.is_empty() {
            let mut pipeline = pipe();
            pipeline.ignore_errors();
            for (key, _) in &hashes {
                pipeline.cmd("HKEYS").arg(key);
            }
            let answer: RedisResult<Vec<RedisResult<Vec<String>>>> =
                pipeline.query_async(&mut connection).await;
            let fields = self.settle(answer).await?;
            for ((_, app), ids) in hashes.iter().zip(fields) {
                // Of a wrong type: one element stands for the whole key.
                let ids = ids.unwrap_or_else(|_| vec![String::new()]);
                elements.extend(
                    ids.into_iter()
                        .map(|id| Element::Instance((*app).into(), id.into())),
                );
            }
        }
        Ok(Scanned {
            elements,
            next: (next != 0).then_some(next),
        })
    }
}

fn glob_escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

fn classify(error: RedisError) -> SinkError {
    let away = error.is_io_error()
        || error.is_timeout()
        || error.is_connection_refusal()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || error.kind() == ErrorKind::Server(ServerErrorKind::BusyLoading);
    if away {
        SinkError::Unavailable(Box::new(error))
    } else {
        SinkError::Refused(Box::new(error))
    }
}
