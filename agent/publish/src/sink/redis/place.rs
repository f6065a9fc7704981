//! Where Redis is: at one address, or wherever Sentinels say that the master is.

use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, cmd,
};

use crate::sink::SinkError;

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A script of 500 records takes some milliseconds; a Redis that needs longer
/// than this is as good as gone, and the call will be repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// What URLs of Sentinels begin with, and those of one of them.
const SENTINELS: [(&str, &str); 2] = [
    ("redis+sentinel://", "redis://"),
    ("rediss+sentinel://", "rediss://"),
];

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

/// The authorities to trust: these, or those of the system.
type Trust = Option<Vec<u8>>;

/// Where that Redis is.
pub(super) enum Place {
    /// Always here.
    Here(Client),
    /// Wherever Sentinels say that the master is.
    Master(Sentinels),
}

/// Sentinels that watch one master with its replicas.
pub(super) struct Sentinels {
    /// Each of them.
    clients: Vec<Client>,
    /// Whether they and the master speak TLS.
    tls: Option<Trust>,
    /// The name by which they know the master.
    name: String,
    /// Login and database at the master.
    login: RedisConnectionInfo,
}

impl Place {
    pub(super) fn of(options: &RedisOptions) -> Result<Self, SinkError> {
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
    pub(super) async fn connect(&self) -> RedisResult<(Client, MultiplexedConnection)> {
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

/// Whether the connection may be out of step, or lead to a server that is no
/// longer the one to write to.
pub(super) fn may_be_elsewhere(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_timeout()
        || error.is_unrecoverable_error()
        || error.kind() == ErrorKind::Server(ServerErrorKind::ReadOnly)
}

pub(super) fn classify(error: RedisError) -> SinkError {
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
