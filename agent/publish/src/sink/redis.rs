//! Redis itself. The only module that knows the Redis client.

use std::fmt;
use std::string::FromUtf8Error;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    ErrorKind, FromRedisValue, ParsingError, RedisResult, ServerErrorKind, Value, cmd, pipe,
};
use async_trait::async_trait;
use pointsman_model::{Change, Element};
use pointsman_store::Revision;
use tokio::sync::Mutex;
use tracing::debug;

use super::script::{self, META_FIELDS, Protocol, Script, ScriptCall};
use super::{Batch, BatchOutcome, Claim, Found, Reading, RebuildStep, Scanned, Sink, SinkError};

mod place;
mod reports;

pub use place::RedisOptions;
use place::{Place, classify, may_be_elsewhere};
pub use reports::RedisReports;

const SCAN_COUNT: usize = 1000;
/// How long `heard` lives, in seconds. Edges tell by the rest of it when an
/// agent was there: no clock but Redis's is involved.
const HEARD_SECONDS: u32 = 86_400;

/// The table in one Redis.
pub struct RedisSink {
    place: Place,
    protocol: Protocol,
    connection: Mutex<Option<MultiplexedConnection>>,
    /// The scripts with their hashes, by which Redis knows them.
    scripts: [::redis::Script; Script::ALL.len()],
}

/// What Redis holds as text. Anybody can write there, so it may be no UTF-8;
/// then it is nothing that we wrote, and must only not be an error each time.
struct Text(String);

impl FromRedisValue for Text {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let bytes = match value {
            Value::BulkString(bytes) => bytes,
            other => return String::from_redis_value(other).map(Self),
        };
        let lossy = |error: FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
        Ok(Self(String::from_utf8(bytes).unwrap_or_else(lossy)))
    }
}

impl fmt::Debug for RedisSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSink")
            .field("protocol", &self.protocol)
            .finish_non_exhaustive()
    }
}

impl RedisSink {
    /// A sink at `url`, with nothing more to say; see [`RedisOptions`].
    pub fn new(url: &str, prefix: &str, stream_length: usize) -> Result<Self, SinkError> {
        Self::with(&RedisOptions {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            stream_length,
            ..RedisOptions::default()
        })
    }

    /// A sink. Nothing is sent yet; a connection is made when it is needed, and
    /// made again when it broke.
    pub fn with(options: &RedisOptions) -> Result<Self, SinkError> {
        let place = Place::of(options)?;
        Ok(Self::at(place, &options.prefix, options.stream_length))
    }

    fn at(place: Place, prefix: &str, stream_length: usize) -> Self {
        Self {
            place,
            protocol: Protocol::new(prefix, stream_length),
            connection: Mutex::new(None),
            scripts: Script::ALL.map(|script| ::redis::Script::new(script.text())),
        }
    }

    /// The same sink as an agent of another version would have it.
    #[must_use]
    pub fn with_format(mut self, format: u32) -> Self {
        self.protocol.format = format;
        self
    }

    /// The same sink, keeping about so many bytes of the change stream.
    #[must_use]
    pub fn with_stream_bytes(mut self, bytes: usize) -> Self {
        self.protocol.stream_bytes = bytes;
        self
    }

    async fn connection(&self) -> Result<MultiplexedConnection, SinkError> {
        let mut held = self.connection.lock().await;
        if let Some(connection) = &*held {
            return Ok(connection.clone());
        }
        let (_, mut connection) = self.place.connect().await.map_err(classify)?;
        let (server, cluster, memory): (String, String, String) = pipe()
            .cmd("INFO")
            .arg("server")
            .cmd("INFO")
            .arg("cluster")
            .cmd("INFO")
            .arg("memory")
            .query_async(&mut connection)
            .await
            .map_err(classify)?;
        check_fit(&server, &cluster, &memory)?;
        *held = Some(connection.clone());
        Ok(connection)
    }

    /// Ends a call: a connection that may be out of step is given up.
    async fn settle<T>(&self, answer: RedisResult<T>) -> Result<T, SinkError> {
        match answer {
            Ok(value) => Ok(value),
            Err(error) => {
                if may_be_elsewhere(&error) {
                    *self.connection.lock().await = None;
                }
                Err(classify(error))
            }
        }
    }

    /// Runs a script by its hash, which Redis may have to learn first. (The
    /// client's own call would copy each argument twice more.)
    async fn run<T: FromRedisValue>(&self, call: &ScriptCall) -> Result<T, SinkError> {
        let script = &self.scripts[call.script as usize];
        let mut command = cmd("EVALSHA");
        command.arg(script.get_hash()).arg(call.keys.len());
        command.arg(&call.keys).arg(&call.args);
        let mut connection = self.connection().await?;
        let mut answer = command.query_async(&mut connection).await;
        if let Err(error) = &answer
            && error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
        {
            answer = match script.load_async(&mut connection).await {
                Ok(_) => command.query_async(&mut connection).await,
                Err(error) => Err(error),
            };
        }
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
        let answer: RedisResult<[Option<Text>; 6]> = cmd("HMGET")
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
        Ok(script::found(fields.map(text)))
    }

    async fn probe(&self) -> Result<Found, SinkError> {
        let found = self.meta().await?;
        if matches!(found, Found::Table(_)) {
            let mut connection = self.connection().await?;
            let answer: RedisResult<()> = cmd("SET")
                .arg(self.protocol.key("heard"))
                .arg(1)
                .arg("EX")
                .arg(HEARD_SECONDS)
                .query_async(&mut connection)
                .await;
            // A Redis that is full can still be read, and the batch says so. One
            // that became a replica is left.
            if let Err(error) = self.settle(answer).await {
                debug!(%error, "redis did not take the sign of life");
            }
        }
        Ok(found)
    }

    async fn batch(&self, batch: &Batch) -> Result<BatchOutcome, SinkError> {
        let answer = self.run(&self.protocol.batch(batch)).await?;
        Ok(script::outcome(words(answer)))
    }

    async fn begin(&self, claim: &Claim) -> Result<RebuildStep, SinkError> {
        let answer = self.run(&self.protocol.begin(claim)).await?;
        Ok(script::step(words(answer)))
    }

    async fn piece(
        &self,
        token: Revision,
        n: u64,
        changes: &[Change],
    ) -> Result<RebuildStep, SinkError> {
        let answer = self.run(&self.protocol.piece(token, n, changes)).await?;
        Ok(script::step(words(answer)))
    }

    async fn end(
        &self,
        token: Revision,
        n: u64,
        revision: Revision,
    ) -> Result<RebuildStep, SinkError> {
        let answer = self.run(&self.protocol.end(token, n, revision)).await?;
        Ok(script::step(words(answer)))
    }

    async fn read(&self, elements: &[Element]) -> Result<Reading, SinkError> {
        type Lists = (Vec<Option<Text>>, Vec<Option<Text>>);
        let (fields, values): Lists = self.run(&self.protocol.read(elements)).await?;
        let texts = |list: Vec<_>| list.into_iter().map(text).collect();
        Ok(script::reading((texts(fields), texts(values))))
    }

    async fn scan(&self, cursor: u64) -> Result<Scanned, SinkError> {
        let mut connection = self.connection().await?;
        let answer: RedisResult<(u64, Vec<Vec<u8>>)> = cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg(format!("{}*", glob_escaped(&self.protocol.prefix)))
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .query_async(&mut connection)
            .await;
        let (next, keys) = self.settle(answer).await?;
        let keys = readable(keys);
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
            let answer: RedisResult<Vec<RedisResult<Vec<Vec<u8>>>>> =
                pipeline.query_async(&mut connection).await;
            let fields = self.settle(answer).await?;
            for ((_, app), ids) in hashes.iter().zip(fields) {
                // Of a wrong type: one element stands for the whole key.
                let ids = ids.map_or_else(|_| vec![String::new()], readable);
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

fn text(text: Option<Text>) -> Option<String> {
    text.map(|Text(text)| text)
}

fn words((word, detail): (Text, Text)) -> (String, String) {
    (word.0, detail.0)
}

/// The names that can be ours. Others are left alone: no edge asks for them.
fn readable(names: Vec<Vec<u8>>) -> Vec<String> {
    let names = names.into_iter();
    names
        .filter_map(|name| String::from_utf8(name).ok())
        .collect()
}

/// Whether this Redis can hold the table, by what it says about itself.
fn check_fit(server: &str, cluster: &str, memory: &str) -> Result<(), SinkError> {
    if let Some(version) = info_field(server, "redis_version")
        && is_too_old(version)
    {
        return Err(SinkError::Unfit(format!(
            "its version is {version}, and the change stream needs Redis 7.0 or later; \
             upgrade it, or use Valkey"
        )));
    }
    if info_field(cluster, "cluster_enabled") == Some("1") {
        return Err(SinkError::Unfit(
            "it runs in cluster mode, which spreads one batch over several nodes; \
             use one Redis with replicas and Sentinel"
                .to_owned(),
        ));
    }
    let limited = info_field(memory, "maxmemory").is_some_and(|bytes| bytes != "0");
    let policy = info_field(memory, "maxmemory_policy");
    if limited && policy.is_some_and(|policy| policy != "noeviction") {
        return Err(SinkError::Unfit(
            "it has a maxmemory and a policy that evicts, so that records would vanish; \
             set maxmemory-policy to noeviction"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Redis takes entries of the form `XADD <revision>-*` since version 7.0.
fn is_too_old(version: &str) -> bool {
    let major = version.split('.').next().unwrap_or_default();
    major.parse::<u32>().is_ok_and(|major| major < 7)
}

/// A field of an answer to INFO.
fn info_field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .find_map(|(field, value)| (field == name).then_some(value))
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
