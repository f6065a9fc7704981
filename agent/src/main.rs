//! The binary: arguments, configuration, logs, signals, exit code. All else
//! is in the library.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use nix::sys::signal::Signal;
use pointsman::cli::{AdoptArgs, Cli, Command, RegisterArgs};
use pointsman::config::{Config, ConfigError, Setting, Sources};
use pointsman::serve::AgentParts;
use pointsman::{connect, serve, telemetry};
use pointsman_api::origin::HostNames;
use pointsman_cli::Surroundings;
use pointsman_client::AgentClient;
use pointsman_publish::operator;
use pointsman_register::{Drain, Holding, Register, RegisterError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Arguments that are not understood.
const BAD_USAGE: u8 = 2;
/// `EX_USAGE` of sysexits.h.
const BAD_CONFIG: u8 = 64;
/// As a shell has it, for a command that is not there, or cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { BAD_USAGE } else { 0 }.into();
        }
    };
    // Before any thread is there: it becomes another program.
    if let Command::Guard(args) = &cli.command {
        let error = pointsman_process::run_guard(args);
        say(&format!("pointsman: {error}"));
        return exec_code(error.kind()).into();
    }
    let ended = tokio::runtime::Runtime::new()
        .context("the runtime cannot be started")
        .and_then(|runtime| {
            let ended = runtime.block_on(run(cli.command));
            // What outlived the grace period must not hold up the exit.
            runtime.shutdown_timeout(Duration::from_millis(100));
            ended
        });
    match ended {
        Ok(code) => code.into(),
        Err(error) if error.is::<ConfigError>() => {
            say(&format!("pointsman: {error}"));
            BAD_CONFIG.into()
        }
        Err(error) => {
            say(&format!("pointsman: {error:#}"));
            let spawn = match error.downcast_ref::<RegisterError>() {
                Some(RegisterError::Spawn(source)) => exec_code(source.kind()),
                _ => 1,
            };
            spawn.into()
        }
    }
}

async fn run(command: Command) -> anyhow::Result<u8> {
    match command {
        Command::Serve(args) => serve(args.sources(std::env::vars_os())).await,
        Command::Register(args) => register(*args).await,
        Command::Agent(command) => {
            let report = command.run(&surroundings()).await;
            print(&report.text)?;
            if !report.complaint.is_empty() {
                say(&format!("pointsman: {}", report.complaint));
            }
            Ok(report.code)
        }
        Command::CheckConfig(args) => {
            let config = Config::load(args.sources(std::env::vars_os()))?;
            print(&format!("{config:#?}\n"))?;
            Ok(0)
        }
        Command::Adopt(args) => adopt(args).await,
        Command::Confirm(args) => confirm(args.sources(std::env::vars_os())).await,
        Command::Completion(args) => {
            std::io::stdout().write_all(&args.script())?;
            Ok(0)
        }
        Command::Man(args) => {
            let folder = args.folder.display();
            args.write()
                .with_context(|| format!("the pages cannot be written to {folder}"))?;
            Ok(0)
        }
        Command::Guard(_) => Ok(0),
    }
}

/// What the commands for an agent are given: the user's configuration file, and
/// whether somebody looks.
fn surroundings() -> Surroundings {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let config = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
    let plain = variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|t| t == "dumb");
    Surroundings {
        config: config.map(|folder| folder.join("pointsman/config.toml")),
        colours: std::io::stdout().is_terminal() && !plain,
        print: |text| std::io::stdout().write_all(text.as_bytes()),
        progress: std::io::stderr().is_terminal().then_some(show_progress),
    }
}

/// In place of what stands on the line.
fn show_progress(text: &str) {
    let _ = write!(std::io::stderr(), "\r\x1b[K{text}");
}

async fn serve(sources: Sources) -> anyhow::Result<u8> {
    let config = Config::load(sources)?;
    telemetry::init(&config.log)?;
    let stop = stop_token()?;
    let listener = TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("the admin API cannot listen at {}", config.admin.listen))?;
    let agent = AgentParts {
        store: connect::store(&config.etcd, ""),
        sink: connect::sink(&config.redis)?,
        reports: connect::reports(&config.redis)?,
        id: config.id,
        hosts: HostNames::new(config.admin.hosts),
        body_limit: config.admin.body_limit,
        patience: config.etcd.timeout,
        grace: config.grace,
        reconcile: config.reconcile,
    };
    serve::run(agent, listener, stop).await?;
    Ok(0)
}

async fn adopt(args: AdoptArgs) -> anyhow::Result<u8> {
    let config = Config::load(args.settings.sources(std::env::vars_os()))?;
    let (store, sink) = (
        connect::store(&config.etcd, ""),
        connect::sink(&config.redis)?,
    );
    let sides = operator::look(&*store, &*sink).await?;
    print(&sides.to_string())?;
    if !args.yes {
        print(
            "nothing was changed; with --yes, agents replace redis's table by what etcd holds\n",
        )?;
        return Ok(0);
    }
    let epoch = operator::adopt(&*store, &sides).await?;
    print(&format!(
        "etcd names epoch {epoch} now, and agents will rebuild redis\n"
    ))?;
    Ok(0)
}

async fn confirm(sources: Sources) -> anyhow::Result<u8> {
    let config = Config::load(sources)?;
    let (store, sink) = (
        connect::store(&config.etcd, ""),
        connect::sink(&config.redis)?,
    );
    let sides = operator::look(&*store, &*sink).await?;
    operator::confirm(&*store, &sides).await?;
    print(&format!(
        "{sides}confirmed: a listing may replace redis's table as it stands now\n"
    ))?;
    Ok(0)
}

async fn register(args: RegisterArgs) -> anyhow::Result<u8> {
    let instance = args.instance();
    let config = Config::load(args.settings.sources(std::env::vars_os()))?;
    telemetry::init(&config.log)?;
    let signals = signals(&[
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
    ])?;
    let key = format!("instances/{}/{}", args.app, args.id);
    let drain = match (args.drain, &args.api) {
        (Some(timeout), Some(api)) => Some(Drain {
            client: AgentClient::new(api)?,
            app: args.app.to_string(),
            id: args.id.to_string(),
            timeout,
        }),
        (Some(_), None) => {
            tracing::warn!(
                "no agent is given (--api): the instance will be deregistered, and not drained"
            );
            None
        }
        (None, _) => None,
    };
    let register = Register {
        holding: Holding {
            // Nothing but this key: its watch must not bring the whole registry.
            store: connect::store(&config.etcd, &key),
            key: String::new(),
            value: instance.to_value(),
            ttl: args.ttl,
            patience: config.etcd.timeout,
        },
        addr: args.addr.socket(),
        wait_port: args.wait_port,
        command: args.command,
        drain,
        guard: Some(std::env::current_exe().context("this program's path is not known")?),
        private: Setting::variables().collect(),
        grace: config.grace,
    };
    Ok(register.run(signals).await?)
}

/// A token that SIGTERM and SIGINT cancel. The second one exits at once.
fn stop_token() -> anyhow::Result<CancellationToken> {
    let mut signals = signals(&[Signal::SIGTERM, Signal::SIGINT])?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        while let Some(signal) = signals.recv().await {
            if token.is_cancelled() {
                std::process::exit(128 + signal as i32);
            }
            tracing::info!(%signal, "stopping");
            token.cancel();
        }
    });
    Ok(stop)
}

fn signals(wanted: &[Signal]) -> anyhow::Result<mpsc::Receiver<Signal>> {
    let (sender, receiver) = mpsc::channel(8);
    for &one in wanted {
        let mut stream = signal(SignalKind::from_raw(one as i32))
            .with_context(|| format!("{one} cannot be listened to"))?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while stream.recv().await.is_some() && sender.send(one).await.is_ok() {}
        });
    }
    Ok(receiver)
}

fn exec_code(kind: std::io::ErrorKind) -> u8 {
    match kind {
        std::io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    write!(std::io::stdout(), "{text}").context("standard output is closed")
}

/// To standard error, where logs go: before there are any, and at the end.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
