//! Redis itself. The only file that knows the Redis client.

use std::fmt;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, Script, ScriptInvocation,
    ServerErrorKind, cmd, pipe,
};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{
    Batch, Claim, FORMAT, Found, Meta, Outcome, Reading, Scanned, Sink, SinkError, Step,
};
use crate::model::{Change, Element, changes_json};
use crate::store::Revision;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A script of 500 records takes some milliseconds; a Redis that needs longer
/// than this is as good as gone, and the call will be repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const SCAN_COUNT: usize = 1000;

/// The table in one Redis.
pub struct RedisSink {
    client: Client,
    prefix: String,
    /// About how many entries the change stream keeps.
    stream_length: usize,
    format: u32,
    connection: Mutex<Option<MultiplexedConnection>>,
    scripts: Scripts,
}

struct Scripts {
    batch: Script,
    begin: Script,
    piece: Script,
    end: Script,
    read: Script,
}

impl Default for Scripts {
    fn default() -> Self {
        let script =
            |body| Script::new(&format!("{}\n{body}", include_str!("scripts/prelude.lua")));
        Self {
            batch: script(include_str!("scripts/batch.lua")),
            begin: script(include_str!("scripts/begin.lua")),
            piece: script(include_str!("scripts/piece.lua")),
            end: script(include_str!("scripts/end.lua")),
            read: script(include_str!("scripts/read.lua")),
        }
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink")
            .field("prefix", &self.prefix)
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
            prefix: prefix.to_owned(),
            stream_length,
            format: FORMAT,
            connection: Mutex::new(None),
            scripts: Scripts::default(),
        })
    }

    /// The same sink as an agent of another version would have it.
    pub fn with_format(self, format: u32) -> Self {
        Self { format, ..self }
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

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// An invocation with what all scripts take: the two keys, the prefix.
    fn prepare<'a>(&self, script: &'a Script) -> ScriptInvocation<'a> {
        let mut invocation = script.prepare_invoke();
        invocation
            .key(self.key("meta"))
            .key(self.key("changes"))
            .arg(&self.prefix);
        invocation
    }

    async fn run(&self, invocation: &ScriptInvocation<'_>) -> Result<(String, String), SinkError> {
        let mut connection = self.connection().await?;
        let answer = invocation.invoke_async(&mut connection).await;
        self.settle(answer).await
    }

    async fn step(&self, invocation: &ScriptInvocation<'_>) -> Result<Step, SinkError> {
        let (word, detail) = self.run(invocation).await?;
        Ok(if word == "done" {
            Step::Done
        } else {
            Step::Refused(detail)
        })
    }
}

#[async_trait]
impl Sink for RedisSink {
    fn format(&self) -> u32 {
        self.format
    }

    async fn meta(&self) -> Result<Found, SinkError> {
        let mut connection = self.connection().await?;
        let answer: RedisResult<[Option<String>; 6]> = cmd("HMGET")
            .arg(self.key("meta"))
            .arg(&["format", "epoch", "rev", "state", "claim", "next"])
            .query_async(&mut connection)
            .await;
        if let Err(error) = &answer
            && error.code() == Some("WRONGTYPE")
        {
            return Ok(Found::Broken("meta is not a hash".into()));
        }
        let fields = self.settle(answer).await?;
        Ok(found(fields))
    }

    async fn batch(&self, batch: &Batch) -> Result<Outcome, SinkError> {
        let mut invocation = self.prepare(&self.scripts.batch);
        invocation
            .arg(self.format)
            .arg(&batch.epoch)
            .arg(batch.from)
            .arg(batch.to)
            .arg(self.stream_length)
            .arg(changes_json(&batch.changes));
        let (word, detail) = self.run(&invocation).await?;
        let revision = || detail.parse().unwrap_or_default();
        Ok(match word.as_str() {
            "applied" => Outcome::Applied,
            "stale" => Outcome::Stale(revision()),
            "gap" => Outcome::Gap(revision()),
            "epoch" => Outcome::OtherEpoch(detail),
            "format" => Outcome::OtherFormat(detail),
            "building" => Outcome::Building,
            _ => Outcome::Broken(detail),
        })
    }

    async fn begin(&self, claim: &Claim) -> Result<Step, SinkError> {
        let mut invocation = self.prepare(&self.scripts.begin);
        invocation
            .arg(self.format)
            .arg(&claim.epoch)
            .arg(claim.token)
            .arg(claim.revision)
            .arg(claim.replaces.as_deref().unwrap_or_default());
        self.step(&invocation).await
    }

    async fn piece(&self, token: Revision, n: u64, changes: &[Change]) -> Result<Step, SinkError> {
        let mut invocation = self.prepare(&self.scripts.piece);
        invocation
            .arg(token)
            .arg(n)
            .arg(n + 1)
            .arg(changes_json(changes));
        self.step(&invocation).await
    }

    async fn end(&self, token: Revision, n: u64, revision: Revision) -> Result<Step, SinkError> {
        let mut invocation = self.prepare(&self.scripts.end);
        invocation
            .arg(token)
            .arg(n)
            .arg(revision)
            .arg(self.stream_length);
        self.step(&invocation).await
    }

    async fn read(&self, elements: &[Element]) -> Result<Reading, SinkError> {
        let names: serde_json::Value = elements
            .iter()
            .map(|element| match element.field() {
                None => serde_json::json!([element.redis_key()]),
                Some(field) => serde_json::json!([element.redis_key(), field]),
            })
            .collect();
        let mut invocation = self.prepare(&self.scripts.read);
        invocation.arg(names.to_string());
        let mut connection = self.connection().await?;
        let answer = invocation.invoke_async(&mut connection).await;
        let (fields, values): (Vec<Option<String>>, Vec<Option<String>>) =
            self.settle(answer).await?;
        let found = <[_; 6]>::try_from(fields)
            .map_or_else(|_| Found::Broken("meta is not a hash".into()), found);
        let values = values.into_iter().map(|value| value.map(Box::from)).collect();
        Ok(Reading { found, values })
    }

    async fn scan(&self, cursor: u64) -> Result<Scanned, SinkError> {
        let mut connection = self.connection().await?;
        let answer: RedisResult<(u64, Vec<String>)> = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{}*", glob_escaped(&self.prefix)))
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .query_async(&mut connection)
            .await;
        let (next, keys) = self.settle(answer).await?;
        let mut elements = Vec::new();
        let mut hashes = Vec::new();
        for key in &keys {
            let Some((kind, name)) = key
                .strip_prefix(&self.prefix)
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

fn found(fields: [Option<String>; 6]) -> Found {
    if fields.iter().all(Option::is_none) {
        return Found::Nothing;
    }
    meta_of(fields).map_or_else(
        || Found::Broken("meta lacks a field, or holds one that is not a number".into()),
        Found::Table,
    )
}

fn meta_of(fields: [Option<String>; 6]) -> Option<Meta> {
    let [format, epoch, rev, state, claim, next] = fields;
    Some(Meta {
        format: format?.parse().ok()?,
        epoch: epoch?,
        rev: rev?.parse().ok()?,
        ready: state? == "ready",
        claim: claim?.parse().ok()?,
        next: next?.parse().ok()?,
    })
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
