//! The table of settings: it drives the flags, the environment variables, the
//! keys of the file, and (held by a test) `docs/configuration.md`.

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key in the file; a dot separates the TOML table.
    pub key: &'static str,
    /// What a value looks like.
    pub takes: &'static str,
    /// The value that holds if nothing is given.
    pub default: Option<&'static str>,
    /// What it does, in one sentence.
    pub help: &'static str,
    /// Whether the value must not be shown; such a setting has no flag, for
    /// everybody on the machine sees the command line.
    pub secret: bool,
    /// Whether `pointsman register` takes it too.
    pub register: bool,
}

/// What the environment variables of the agent begin with. The edge's
/// variables (`POINTSMAN_REDIS`, …) do not.
pub const ENV_PREFIX: &str = "POINTSMAN_AGENT_";

impl Setting {
    /// The flag without its dashes, for example `etcd-endpoints`.
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// The environment variable, for example `POINTSMAN_AGENT_ETCD_ENDPOINTS`.
    pub fn env(&self) -> String {
        format!("{ENV_PREFIX}{}", self.suffix())
    }

    /// What follows the prefix of the environment variable.
    pub fn suffix(&self) -> String {
        self.key.replace('.', "_").to_ascii_uppercase()
    }

    /// The environment variables of all settings, and that which names the file.
    pub fn variables() -> impl Iterator<Item = String> {
        let file = format!("{ENV_PREFIX}CONFIG");
        SETTINGS.iter().map(Setting::env).chain([file])
    }

    /// The setting of this key.
    pub fn of(key: &str) -> Option<&'static Setting> {
        SETTINGS.iter().find(|s| s.key == key)
    }
}

const fn setting(key: &'static str, takes: &'static str, help: &'static str) -> Setting {
    Setting {
        key,
        takes,
        default: None,
        help,
        secret: false,
        register: false,
    }
}

impl Setting {
    const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    const fn register_too(mut self) -> Self {
        self.register = true;
        self
    }
}

/// All settings.
pub const SETTINGS: &[Setting] = &[
    setting(
        "id",
        "NAME",
        "Name of this agent in etcd and in logs; if not given, the host's name and a random suffix.",
    ),
    setting(
        "grace",
        "DURATION",
        "How long a shutdown may take; afterwards what still runs is abandoned.",
    )
    .default("10s")
    .register_too(),
    setting(
        "reconcile",
        "DURATION",
        "How often the agent compares etcd, its table and Redis at rest, with a quarter of jitter.",
    )
    .default("60s"),
    setting(
        "etcd.endpoints",
        "URL,…",
        "Where etcd listens; several are tried in turn. All http:// or all https://.",
    )
    .default("http://127.0.0.1:2379")
    .register_too(),
    setting(
        "etcd.prefix",
        "PREFIX",
        "What the registry's keys in etcd begin with; begins and ends with a slash.",
    )
    .default("/pointsman/")
    .register_too(),
    setting("etcd.user", "NAME", "User to log in to etcd with.").register_too(),
    setting("etcd.password", "SECRET", "Password of that user.")
        .secret()
        .register_too(),
    setting(
        "etcd.password_file",
        "PATH",
        "File that holds the password of that user (one line).",
    )
    .register_too(),
    setting(
        "etcd.ca_file",
        "PATH",
        "PEM file of the authority that signed etcd's certificate; if not given, those of the system.",
    )
    .register_too(),
    setting(
        "etcd.cert_file",
        "PATH",
        "PEM file of a client certificate to show to etcd.",
    )
    .register_too(),
    setting("etcd.key_file", "PATH", "PEM file of that certificate's key.").register_too(),
    setting(
        "etcd.timeout",
        "DURATION",
        "How long one call to etcd may take, and with it a request to the admin API.",
    )
    .default("3s")
    .register_too(),
    setting(
        "redis.url",
        "URL",
        "The Redis to write to: redis://[[user]:password@]host[:port][/db], rediss:// for TLS, or redis+sentinel://[[user]:password@]host:port,…/master[/db] for the master that Sentinels name, rediss+sentinel:// if they and it speak TLS.",
    )
    .default("redis://127.0.0.1:6379"),
    setting(
        "redis.password_file",
        "PATH",
        "File that holds the password of Redis (one line), instead of one in the URL.",
    ),
    setting(
        "redis.ca_file",
        "PATH",
        "PEM file of the authority that signed Redis's certificate; if not given, those of the system.",
    ),
    setting(
        "redis.sentinel_user",
        "NAME",
        "User to log in to the Sentinels with, if not the default one.",
    ),
    setting(
        "redis.sentinel_password_file",
        "PATH",
        "File that holds the password of the Sentinels (one line); the one in redis.url is Redis's own.",
    ),
    setting(
        "redis.prefix",
        "PREFIX",
        "What our keys in Redis begin with; the edges need the same.",
    )
    .default("pointsman:"),
    setting(
        "redis.stream_length",
        "NUMBER",
        "About how many entries the change stream keeps, up to 64 MiB; an edge that was away for more reloads.",
    )
    .default("10000"),
    setting(
        "admin.listen",
        "IP:PORT",
        "Where the admin API listens. It has no authentication: keep it off public networks.",
    )
    .default("127.0.0.1:8081"),
    setting(
        "admin.hosts",
        "NAME,…",
        "Names by which clients ask for the admin API, beside addresses, localhost and names without a dot.",
    ),
    setting(
        "admin.body_limit",
        "SIZE",
        "Largest body of a request to the admin API.",
    )
    .default("1MiB"),
    setting("log.level", "FILTER", "error, warn, info, debug or trace; also for each module, like info,pointsman_publish=debug.")
        .default("info")
        .register_too(),
    setting("log.format", "text|json", "How log lines look; they go to standard error.")
        .default("text")
        .register_too(),
];
