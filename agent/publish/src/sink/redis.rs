//! Redis itself. The only file that knows the Redis client.

use std::fmt;
use std::string::FromUtf8Error;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    ParsingError, RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates,
    Value, cmd, pipe,
};
use async_trait::async_trait;
use pointsman_model::{Change, Element};
use pointsman_store::Revision;
use tokio::sync::Mutex;
use tracing::debug;

use super::script::{self, META_FIELDS, Protocol, Script, ScriptCall};
use super::{Batch, BatchOutcome, Claim, Found, Reading, RebuildStep, Scanned, Sink, SinkError};

mod reports;

pub use reports::RedisReports;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A script of 500 records takes some milliseconds; a Redis that needs longer
/// than this is as good as gone, and the call will be repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const SCAN_COUNT: usize = 1000;
/// What URLs of Sentinels begin with, and those of one of them.
const SENTINELS: [(&str, &str); 2] = [
    ("redis+sentinel://", "redis://"),
    ("rediss+sentinel://", "rediss://"),
];
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

/// Where that Redis is.
enum Place {
    /// Always here.
    Here(Client),
    /// Wherever Sentinels say that the master is.
    Master(Sentinels),
}

/// Sentinels that watch one master with its replicas.
struct Sentinels {
    /// Each of them.
    clients: Vec<Client>,
    /// Whether they and the master speak TLS.
    tls: Option<Trust>,
    /// The name by which they know the master.
    name: String,
    /// Login and database at the master.
    login: RedisConnectionInfo,
}

/// How Redis is reached.
#[derive(Clone, Default)]
pub struct RedisOptions {
    /// `redis://`, `rediss://`, `redis+unix:`, or
    /// `redis[s]+sentinel://[[user]:password@]host:port,…/master[/db]`, with
    /// the login of the master.
    pub url: String,
    /// The authorities to trust instead of those of the system, in PEM.
    pub ca: Option<Vec<u8>>,
    /// User and password of the Sentinels.
    pub sentinel: Option<(Option<String>, String)>,
    /// What our keys begin with.
    pub prefix: String,
    /// About how many entries the change stream keeps.
    pub stream_length: usize,
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

/// The authorities to trust: these, or those of the system.
type Trust = Option<Vec<u8>>;

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

impl Place {
    fn of(options: &RedisOptions) -> Result<Self, SinkError> {
        let url = &options.url;
        let sentinels = SENTINELS
            .iter()
            .find_map(|(all, one)| Some((url.strip_prefix(all)?, *one)));
        let place = match sentinels {
            Some((rest, scheme)) => Sentinels::parse(rest, scheme, options).map(Place::Master),
            None => client(url.as_str(), &options.ca).map(Place::Here),
        };
        place.map_err(classify)
    }

    /// A connection, and the client that it is of.
    async fn connect(&self) -> RedisResult<(Client, MultiplexedConnection)> {
        match self {
            Place::Here(client) => {
                let connection = connect(client, ANSWER_TIMEOUT).await?;
                Ok((client.clone(), connection))
            }
            Place::Master(sentinels) => sentinels.connect().await,
        }
    }
}

impl Sentinels {
    /// Reads what follows the scheme; `scheme` is that of each Sentinel.
    fn parse(rest: &str, scheme: &str, options: &RedisOptions) -> RedisResult<Self> {
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (format!("{login}@"), hosts),
            None => (String::new(), authority),
        };
        let (name, db) = path.split_once('/').unwrap_or((path, "0"));
        if name.is_empty() {
            return Err(RedisError::from((
                ErrorKind::InvalidClientConfig,
                "a URL of Sentinels must name the master: redis+sentinel://host:port,…/master[/db]",
            )));
        }
        let mut settings = RedisConnectionInfo::default();
        if let Some((user, password)) = &options.sentinel {
            settings = settings.set_password(password);
            if let Some(user) = user {
                settings = settings.set_username(user);
            }
        }
        let clients = hosts.split(',').map(|host| {
            let info = format!("{scheme}{host}").into_connection_info()?;
            client(info.set_redis_settings(settings.clone()), &options.ca)
        });
        // Read as the master's URL would be, host aside.
        let master = format!("redis://{login}master/{db}").into_connection_info()?;
        Ok(Self {
            clients: clients.collect::<RedisResult<_>>()?,
            tls: scheme.starts_with("rediss").then(|| options.ca.clone()),
            name: name.to_owned(),
            login: master.redis_settings().clone(),
        })
    }

    /// A connection to the master. Every Sentinel is asked until one names a
    /// server that takes itself for the master: some may not yet, or no
    /// longer, know better.
    async fn connect(&self) -> RedisResult<(Client, MultiplexedConnection)> {
        let mut last = RedisError::from((ErrorKind::Io, "no Sentinel was asked"));
        for sentinel in &self.clients {
            match self.connect_by(sentinel).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connect_by(&self, sentinel: &Client) -> RedisResult<(Client, MultiplexedConnection)> {
        let mut asked = connect(sentinel, CONNECT_TIMEOUT).await?;
        let found: Option<(String, u16)> = cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.name)
            .query_async(&mut asked)
            .await?;
        let Some((host, port)) = found else {
            return Err(RedisError::from((
                ErrorKind::Io,
                "the Sentinel knows no master of that name",
                self.name.clone(),
            )));
        };
        let addr = match self.tls {
            None => ConnectionAddr::Tcp(host, port),
            Some(_) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            },
        };
        let info = addr.into_connection_info()?;
        let master = client(
            info.set_redis_settings(self.login.clone()),
            self.tls.as_ref().unwrap_or(&None),
        )?;
        let mut connection = connect(&master, ANSWER_TIMEOUT).await?;
        let info: String = cmd("INFO")
            .arg("replication")
            .query_async(&mut connection)
            .await?;
        if info.contains("role:master") {
            return Ok((master, connection));
        }
        Err(RedisError::from((
            ErrorKind::Io,
            "the server that the Sentinel names is no master",
        )))
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

/// A client; authorities are for TLS only.
fn client(info: impl IntoConnectionInfo, ca: &Trust) -> RedisResult<Client> {
    match ca {
        None => Client::open(info),
        Some(ca) => {
            let certificates = TlsCertificates {
                client_tls: None,
                root_cert: Some(ca.clone()),
            };
            Client::build_with_tls(info, certificates)
        }
    }
}

async fn connect(client: &Client, patience: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(patience));
    client
        .get_multiplexed_async_connection_with_config(&config)
        .await
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

/// Whether the connection may be out of step, or lead to a server that is no
/// longer the one to write to.
fn may_be_elsewhere(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_unrecoverable_error()
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
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
    if error.kind() == ErrorKind::AuthenticationFailed {
        return SinkError::Refused(Box::new(error));
    }
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
