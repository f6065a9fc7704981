//! The command line. The flags of the settings come from the table in
//! [`crate::config::SETTINGS`].

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgMatches, Args, CommandFactory as _, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use pointsman_cli::{AgentCommand, duration};
use pointsman_client::API_VARIABLE;
use pointsman_model::{Address, AppName, DEFAULT_WEIGHT, Instance, InstanceId};
use pointsman_process::GuardArgs;

use crate::config::{ENV_PREFIX, SETTINGS, Setting, Sources};

/// A dynamic layer-7 router for a PaaS: the agent and its tools.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Follow etcd, keep Redis equal to it, and serve the admin API
    Serve(SettingArgs<false>),
    /// Hold an instance in the registry, alone or around a command
    Register(Box<RegisterArgs>),
    /// The commands for an agent
    #[command(flatten)]
    Agent(AgentCommand),
    /// Check the configuration: report all mistakes, or print what would be used
    CheckConfig(SettingArgs<false>),
    /// Give the table in Redis to what etcd holds now, after etcd went back
    Adopt(AdoptArgs),
    /// Allow a listing of etcd to remove much from Redis, once
    Confirm(SettingArgs<false>),
    /// Print a script that completes commands in a shell
    Completion(CompletionArgs),
    /// Write the manual pages into a folder
    Man(ManArgs),
    /// Become a command that ends with its parent
    #[command(hide = true)]
    Guard(GuardArgs),
}

/// The arguments of `pointsman completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

impl CompletionArgs {
    /// The script.
    pub fn script(&self) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "pointsman", &mut script);
        script
    }
}

/// The arguments of `pointsman man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder; it is made if it is not there
    pub folder: PathBuf,
}

impl ManArgs {
    /// Writes a page for each command: `pointsman-get-routes.1`.
    pub fn write(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.folder)?;
        clap_mangen::generate_to(Cli::command(), &self.folder)
    }
}

/// The arguments of `pointsman adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Do it; without this, only what there is on both sides is shown
    #[arg(long)]
    pub yes: bool,

    /// Where etcd and Redis are, and the like
    #[command(flatten)]
    pub settings: SettingArgs<false>,
}

/// The arguments of `pointsman register`.
#[derive(Debug, Args)]
pub struct RegisterArgs {
    /// The app
    #[arg(long, value_parser = |s: &str| AppName::new(s))]
    pub app: AppName,

    /// The id of this instance of the app
    #[arg(long, value_parser = |s: &str| InstanceId::new(s))]
    pub id: InstanceId,

    /// Where the instance listens.
    // rustdoc would take the brackets for a link.
    #[arg(
        long,
        help = "Where the instance listens, as the edge reaches it: IPv4:port or [IPv6]:port",
        value_parser = |s: &str| Address::new(s)
    )]
    pub addr: Address,

    /// Its share of the app's requests, against the other instances; 0: none
    #[arg(long, default_value_t = DEFAULT_WEIGHT)]
    pub weight: u16,

    /// Its failure domain
    #[arg(long, value_parser = zone)]
    pub zone: Option<Box<str>>,

    /// How long the instance stays registered when it dies without a word
    #[arg(long, default_value = "10s", value_parser = ttl)]
    pub ttl: Duration,

    /// Register only once the address accepts connections; give up after this time
    #[arg(long, value_name = "TIMEOUT", value_parser = |s: &str| humantime::parse_duration(s))]
    pub wait_port: Option<Duration>,

    /// At a signal to stop, have the agent drain the instance first, for so long at the most
    #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
    pub drain: Option<Duration>,

    /// The agent's admin API, for --drain
    #[arg(long, value_name = "URL", env = API_VARIABLE)]
    pub api: Option<String>,

    /// Where etcd is, and the like
    #[command(flatten)]
    pub settings: SettingArgs<true>,

    /// A command to run; the instance is deregistered when it ends
    #[arg(last = true, num_args = 1..)]
    pub command: Vec<OsString>,
}

impl RegisterArgs {
    /// What is to be registered.
    pub fn instance(&self) -> Instance {
        Instance {
            addr: self.addr,
            weight: self.weight,
            zone: self.zone.clone(),
            shared: false,
        }
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(ttl) if ttl.subsec_nanos() == 0 && (2..=24 * 3600).contains(&ttl.as_secs()) => Ok(ttl),
        _ => Err("a duration in whole seconds from 2s to 24h is accepted, like 10s".to_owned()),
    }
}

fn zone(text: &str) -> Result<Box<str>, String> {
    // The model judges: whatever it takes from etcd is right here, too.
    let value = serde_json::json!({ "addr": "127.0.0.1:1", "zone": text });
    match Instance::from_value(value.to_string().as_bytes()) {
        Ok(Instance {
            zone: Some(zone), ..
        }) => Ok(zone),
        Ok(_) => Err("a zone must not be empty".to_owned()),
        Err(bad) => Err(bad.to_string()),
    }
}

/// The file and the flags of the settings; all of them, or those that
/// `register` takes.
#[derive(Clone, Debug, Default)]
pub struct SettingArgs<const REGISTER: bool> {
    file: Option<PathBuf>,
    flags: Vec<(&'static str, String)>,
}

impl<const REGISTER: bool> SettingArgs<REGISTER> {
    /// The sources of a configuration, with this environment.
    pub fn sources(self, env: impl IntoIterator<Item = (OsString, OsString)>) -> Sources {
        Sources {
            file: self.file,
            env: env.into_iter().collect(),
            flags: self.flags,
        }
    }

    fn settings() -> impl Iterator<Item = &'static Setting> {
        SETTINGS
            .iter()
            .filter(|s| !s.secret && (s.register || !REGISTER))
    }
}

impl<const REGISTER: bool> Args for SettingArgs<REGISTER> {
    fn augment_args(command: clap::Command) -> clap::Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("PATH")
            .value_parser(ValueParser::path_buf())
            .help(format!(
                "File with settings, in TOML [env: {ENV_PREFIX}CONFIG]"
            ))
            .help_heading("Settings");
        let command = command.arg(file);
        Self::settings().fold(command, |command, setting| {
            let mut help = setting.help.trim_end_matches('.').to_owned();
            if let Some(default) = setting.default {
                help.push_str(&format!(" [default: {default}]"));
            }
            help.push_str(&format!(" [env: {}]", setting.env()));
            let flag = Arg::new(setting.key)
                .long(setting.flag())
                .value_name(setting.takes)
                .help(help)
                .help_heading("Settings");
            command.arg(flag)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl<const REGISTER: bool> FromArgMatches for SettingArgs<REGISTER> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut args = Self::default();
        args.update_from_arg_matches(matches)?;
        Ok(args)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one("config").cloned();
        self.flags = Self::settings()
            .filter_map(|s| Some((s.key, matches.get_one::<String>(s.key)?.clone())))
            .collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn each_setting_but_the_secrets_has_its_flag() {
        let args = [
            "pointsman",
            "serve",
            "--etcd-endpoints",
            "http://a:1,http://b:2",
            "--id",
            "x",
        ];
        let Command::Serve(args) = Cli::parse_from(args).command else {
            panic!("not serve");
        };
        let config = Config::load(args.sources([])).unwrap();
        assert_eq!(config.etcd.endpoints, ["http://a:1", "http://b:2"]);
        assert_eq!(config.id, "x");
        let secret = ["pointsman", "serve", "--etcd-password", "x"];
        assert!(Cli::try_parse_from(secret).is_err());
    }

    #[test]
    fn register_takes_an_instance_and_a_command() {
        let args = [
            "pointsman",
            "register",
            "--app",
            "shop",
            "--id",
            "shop-1",
            "--addr",
            "10.0.0.5:8080",
            "--zone",
            "a",
            "--etcd-prefix",
            "/x/",
            "--",
            "serve-shop",
            "--port",
            "8080",
        ];
        let Command::Register(args) = Cli::parse_from(args).command else {
            panic!("not register");
        };
        assert_eq!(
            args.instance().to_value(),
            r#"{"addr":"10.0.0.5:8080","weight":100,"zone":"a"}"#
        );
        assert_eq!(args.ttl, Duration::from_secs(10));
        assert_eq!(args.command, ["serve-shop", "--port", "8080"]);
        let config = Config::load(args.settings.sources([])).unwrap();
        assert_eq!(config.etcd.prefix, "/x/");
    }

    #[test]
    fn what_cannot_be_registered_is_refused() {
        let required = [("app", "shop"), ("id", "a"), ("addr", "10.0.0.5:80")];
        for (name, value, expected) in [
            ("app", "Shop", "is not an app name"),
            ("id", "a b", "is not an instance id"),
            ("addr", "localhost:80", "is not an instance's address"),
            ("weight", "70000", "70000 is not in 0..=65535"),
            ("zone", "", "zone"),
            ("ttl", "1s", "from 2s to 24h"),
            ("redis-url", "redis://h", "unexpected argument"),
        ] {
            let mut args = vec!["pointsman".to_owned(), "register".to_owned()];
            for (n, v) in required
                .into_iter()
                .filter(|(n, _)| *n != name)
                .chain([(name, value)])
            {
                args.extend([format!("--{n}"), v.to_owned()]);
            }
            let error = Cli::try_parse_from(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
