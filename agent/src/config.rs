//! The configuration: a file, the environment over it, the flags over both.
//!
//! [`Config::load`] reports all mistakes in one go, each with its place and
//! what would be accepted. A key or variable that nobody knows is a mistake.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

#[cfg(test)]
mod parsers;
mod settings;
mod source;
#[cfg(test)]
mod tests;
mod types;

pub use settings::{ENV_PREFIX, SETTINGS, Setting};
pub use source::Sources;
pub use types::{LogFormat, RedisUrl, Secret};

use source::{Given, Layers};

/// The whole configuration of the agent.
#[derive(Clone, Debug)]
pub struct Config {
    /// The agent's name.
    pub id: String,
    /// How long a shutdown may take.
    pub grace: Duration,
    /// How often etcd, the table and Redis are compared at rest.
    pub reconcile: Duration,
    /// How etcd is reached.
    pub etcd: Etcd,
    /// How Redis is reached, and what is kept there.
    pub redis: Redis,
    /// The admin API.
    pub admin: Admin,
    /// What is logged, and how.
    pub log: Log,
}

/// How etcd is reached.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// URLs, all of one scheme; never empty.
    pub endpoints: Vec<String>,
    /// What the registry's keys begin with.
    pub prefix: String,
    /// User and password, if etcd asks for them.
    pub login: Option<(String, Secret)>,
    /// TLS, iff the endpoints are `https://`.
    pub tls: Option<Tls>,
    /// How long one call may take.
    pub timeout: Duration,
}

/// TLS towards etcd; all PEM, read already.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// The authority to trust instead of the system's.
    pub ca: Option<Secret>,
    /// The client's certificate and its key.
    pub identity: Option<(Secret, Secret)>,
}

/// How Redis is reached, and what is kept there.
#[derive(Clone, Debug)]
pub struct Redis {
    /// The URL, with the password in it.
    pub url: RedisUrl,
    /// Certificates that Redis's own is checked against; `None`: the system's.
    pub ca: Option<Secret>,
    /// User and password of the Sentinels.
    pub sentinel: Option<(Option<String>, Secret)>,
    /// What our keys begin with.
    pub prefix: String,
    /// About how many entries the change stream keeps.
    pub stream_length: usize,
}

/// The admin API.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// By which names clients may ask for it, lower case.
    pub hosts: Vec<String>,
    /// The largest body of a request, in bytes.
    pub body_limit: usize,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The filter's directives.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file and key, the variable, or the flag.
    pub origin: String,
    /// What is wrong and what would be accepted.
    pub what: String,
}

impl Mistake {
    fn new(origin: &str, what: impl Into<String>) -> Self {
        Self {
            origin: origin.to_owned(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

/// A configuration that cannot be used; names every mistake.
#[derive(Debug, thiserror::Error)]
pub struct ConfigError {
    /// All mistakes that were found.
    pub mistakes: Vec<Mistake>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mistakes.as_slice() {
            [one] => {
                write!(f, "the configuration has a mistake:").and_then(|()| write!(f, "\n  {one}"))
            }
            all => {
                write!(f, "the configuration has {} mistakes:", all.len())?;
                all.iter().try_for_each(|m| write!(f, "\n  {m}"))
            }
        }
    }
}

impl Config {
    /// Reads all sources; the flags win over the environment, and the
    /// environment over the file.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let mut mistakes = Vec::new();
        let layers = source::gather(sources, &mut mistakes);
        let mut reader = Reader { layers, mistakes };
        let config = reader.config();
        match config {
            Some(config) if reader.mistakes.is_empty() => Ok(config),
            _ => Err(ConfigError {
                mistakes: reader.mistakes,
            }),
        }
    }
}

struct Reader {
    layers: Layers,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// `None` only if a mistake was noted.
    fn config(&mut self) -> Option<Config> {
        // Every part is read before the first `?`: all mistakes in one go.
        let id = match self.given("id") {
            Some(_) => self.read("id", types::agent_id),
            None => Some(default_id()),
        };
        let grace = self.read("grace", types::duration);
        let reconcile = self.read("reconcile", types::duration);
        let etcd = self.etcd();
        let redis = self.redis();
        let listen = self.read("admin.listen", types::listen);
        let hosts = self.optional("admin.hosts", types::hosts);
        let body_limit = self.read("admin.body_limit", types::size);
        let level = self.read("log.level", types::log_level);
        let format = self.read("log.format", types::log_format);
        Some(Config {
            id: id?,
            grace: grace?,
            reconcile: reconcile?,
            etcd: etcd?,
            redis: redis?,
            admin: Admin {
                listen: listen?,
                hosts: hosts.unwrap_or_default(),
                body_limit: body_limit?,
            },
            log: Log {
                level: level?,
                format: format?,
            },
        })
    }

    fn etcd(&mut self) -> Option<Etcd> {
        let endpoints = self.read("etcd.endpoints", types::endpoints);
        let prefix = self.read("etcd.prefix", types::etcd_prefix);
        let timeout = self.read("etcd.timeout", types::duration);
        let login = self.login();
        let ca = self.pem("etcd.ca_file");
        let cert = self.pem("etcd.cert_file");
        let key = self.pem("etcd.key_file");
        for (one, other) in [("cert_file", "key_file"), ("key_file", "cert_file")] {
            let given = self.given(&format!("etcd.{one}"));
            if let (Some(given), None) = (given, self.given(&format!("etcd.{other}"))) {
                self.note(&given, format!("etcd.{other} belongs to it"));
            }
        }
        let endpoints = endpoints?;
        let secure = endpoints.iter().all(|e| e.starts_with("https:"));
        let files = ["etcd.ca_file", "etcd.cert_file", "etcd.key_file"];
        for key in files.into_iter().filter(|_| !secure) {
            if let Some(given) = self.given(key) {
                self.note(
                    &given,
                    "it has no effect unless etcd.endpoints are https://",
                );
            }
        }
        Some(Etcd {
            endpoints,
            prefix: prefix?,
            login,
            tls: secure.then_some(Tls {
                ca,
                identity: cert.zip(key),
            }),
            timeout: timeout?,
        })
    }

    fn login(&mut self) -> Option<(String, Secret)> {
        let user = self.optional("etcd.user", types::user);
        let inline = self.optional("etcd.password", |s| Ok(Secret::new(s)));
        let from_file = self.optional("etcd.password_file", password_file);
        let (user_given, inline_given) = (self.given("etcd.user"), self.given("etcd.password"));
        let file_given = self.given("etcd.password_file");
        match (&user_given, &inline_given, &file_given) {
            (_, Some(_), Some(given)) => self.note(
                given,
                "etcd.password is given too; leave one of the two out",
            ),
            (Some(given), None, None) => self.note(
                given,
                "a password belongs to it: etcd.password or etcd.password_file",
            ),
            (None, Some(given), None) | (None, None, Some(given)) => {
                self.note(given, "a user belongs to it: etcd.user");
            }
            _ => {}
        }
        user.zip(inline.or(from_file))
    }

    fn redis(&mut self) -> Option<Redis> {
        let url = self.read("redis.url", RedisUrl::parse);
        let password = self.optional("redis.password_file", password_file);
        let prefix = self.read("redis.prefix", types::redis_prefix);
        let stream_length = self.read("redis.stream_length", types::stream_length);
        let ca = self.pem("redis.ca_file");
        let sentinel_user = self.optional("redis.sentinel_user", types::user);
        let sentinel = self.optional("redis.sentinel_password_file", password_file);
        let mut url = url?;
        for key in ["redis.sentinel_user", "redis.sentinel_password_file"] {
            if let Some(given) = self.given(key)
                && !url.is_sentinels()
            {
                self.note(
                    &given,
                    "it has no effect unless redis.url is redis+sentinel://",
                );
            }
        }
        if let (Some(given), None) = (
            self.given("redis.sentinel_user"),
            self.given("redis.sentinel_password_file"),
        ) {
            self.note(&given, "redis.sentinel_password_file belongs to it");
        }
        if let Some(given) = self.given("redis.ca_file")
            && !url.is_tls()
        {
            self.note(
                &given,
                "it has no effect unless redis.url is rediss:// or rediss+sentinel://",
            );
        }
        if let Some(given) = self.given("redis.password_file")
            && url.has_password()
        {
            self.note(&given, "redis.url holds a password too; leave one out");
        }
        if let Some(password) = password {
            url = url.with_password(&password);
        }
        Some(Redis {
            url,
            ca,
            sentinel: sentinel.map(|password| (sentinel_user, password)),
            prefix: prefix?,
            stream_length: stream_length?,
        })
    }

    fn pem(&mut self, key: &'static str) -> Option<Secret> {
        self.optional(key, |path| {
            let text = read_file(path)?;
            if text.contains("-----BEGIN ") {
                return Ok(Secret::new(text));
            }
            Err(format!("{path:?} is no PEM file"))
        })
    }

    fn given(&self, key: &str) -> Option<Given> {
        self.layers.get(key).cloned()
    }

    fn note(&mut self, given: &Given, what: impl Into<String>) {
        self.mistakes.push(Mistake::new(&given.origin, what));
    }

    fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let given = self.given(key)?;
        parse(&given.text)
            .map_err(|what| self.note(&given, what))
            .ok()
    }

    fn read<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.layers.contains_key(key) {
            return self.optional(key, parse);
        }
        let default = Setting::of(key).and_then(|s| s.default).unwrap_or_default();
        parse(default)
            .map_err(|what| self.mistakes.push(Mistake::new(key, what)))
            .ok()
    }
}

fn read_file(path: &str) -> Result<String, String> {
    std::fs::read_to_string(Path::new(path)).map_err(|e| format!("{path:?} cannot be read: {e}"))
}

fn password_file(path: &str) -> Result<Secret, String> {
    let text = read_file(path)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || password.contains('\n') {
        return Err(format!("{path:?} must hold the password and nothing else"));
    }
    Ok(Secret::new(password))
}

/// The host's name and a random suffix: two agents on one host differ.
fn default_id() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .take(100)
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
        .collect();
    let random = uuid::Uuid::new_v4().simple().to_string();
    let host = if host.is_empty() { "agent" } else { &host };
    format!("{host}-{}", &random[..8])
}
