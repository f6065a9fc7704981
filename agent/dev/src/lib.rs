//! `pointsman-dev`: etcd, Redis, nginx, the agent and two demo instances in
//! the foreground, on one machine; and what it is made of, for tests and
//! benchmarks, which start the same services by the same code.
//!
//! [`process`] runs one child; [`services`] know how each program is started
//! and when it answers; `stack` holds them together.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{Method, StatusCode};
use tokio_util::sync::CancellationToken;

mod args;
mod demo;
mod error;
pub mod http;
mod lock;
pub mod ports;
pub mod process;
pub mod programs;
pub mod services;
mod source;
mod stack;
pub mod wait;

pub use args::DevArgs;
pub use demo::{DemoArgs, run as run_demo_instance};
pub use error::DevError;
pub use source::Source;
pub use stack::Stack;

use lock::DirLock;
use process::Launcher;
use services::{
    AgentConfig, AgentProcess, EtcdConfig, EtcdProcess, NginxConfig, NginxProcess, RedisConfig,
    RedisProcess, RegisterConfig, RegisterProcess,
};

/// The app of the demo, and the host that is bound to it.
const DEMO_APP: &str = "demo";
const DEMO_HOST: &str = "demo.localhost";

/// How long a demo instance stays registered when it dies without a word.
const DEMO_TTL: Duration = Duration::from_secs(10);

/// How long the demo's route may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs everything until `stop`, or until one of the services dies. Nothing is
/// left running in either case.
pub async fn run(args: DevArgs, stop: CancellationToken) -> Result<(), DevError> {
    let here = args.source.as_deref();
    let source = match here {
        Some(dir) => Source::at(dir)?,
        None => Source::around(Path::new("."))?,
    };
    let dirs = Dirs::create(&args.data_dir)?;
    let _lock = DirLock::take(&dirs.data)?;
    args.check_ports()?;

    let mut stack = Stack::default();
    let ended = tokio::select! {
        () = stop.cancelled() => Ok(()),
        failed = run_stack(&mut stack, &args, &source, &dirs) => Err(failed),
    };
    say("\nStopping …");
    stack.stop().await;
    say("Stopped.");
    ended
}

/// Starts everything and keeps it; returns only when something failed.
async fn run_stack(stack: &mut Stack, args: &DevArgs, source: &Source, dirs: &Dirs) -> DevError {
    match start(stack, args, source, dirs).await {
        Ok(()) => {
            say(&welcome(args, dirs));
            stack.first_death().await
        }
        Err(error) => error,
    }
}

async fn start(
    stack: &mut Stack,
    args: &DevArgs,
    source: &Source,
    dirs: &Dirs,
) -> Result<(), DevError> {
    let this = std::env::current_exe().map_err(DevError::io("find this program's file"))?;
    let launcher = Launcher::beside(&this)?;

    let etcd = EtcdProcess::spawn(
        &launcher,
        &EtcdConfig {
            client: args.at(args.etcd_port),
            peer: args.at(args.etcd_peer_port),
            data_dir: dirs.data.join("etcd"),
            log_dir: dirs.logs.clone(),
        },
    )?;
    let etcd_url = etcd.url();
    starting("etcd", &etcd_url);
    stack.add(etcd).await?;

    let redis = RedisProcess::spawn(
        &launcher,
        &RedisConfig {
            listen: args.at(args.redis_port),
            data_dir: dirs.data.join("redis"),
            log_dir: dirs.logs.clone(),
        },
    )?;
    let redis_url = redis.url();
    starting("Redis", &redis_url);
    stack.add(redis).await?;

    let admin = args.at(args.api_port);
    starting("the agent", &format!("http://{admin}"));
    let agent = AgentConfig {
        id: "agent".to_owned(),
        admin,
        etcd_url: etcd_url.clone(),
        redis_url: redis_url.clone(),
        more_args: Vec::new(),
        log_dir: dirs.logs.clone(),
    };
    stack.add(AgentProcess::spawn(&launcher, &agent)?).await?;

    let edge = args.at(args.edge_port);
    starting("nginx", &format!("http://{edge}"));
    let nginx = NginxConfig {
        source: source.clone(),
        edge,
        status: args.at(args.status_port),
        redis_url,
        workers: args.workers.into(),
        server_lines: String::new(),
        dir: dirs.data.join("nginx"),
        log_dir: dirs.logs.clone(),
    };
    stack.add(NginxProcess::spawn(&launcher, &nginx)?).await?;

    for (id, port) in [("demo-1", args.demo_port_1), ("demo-2", args.demo_port_2)] {
        let addr = args.at(port);
        starting(&format!("instance {id}"), &format!("http://{addr}"));
        let register = RegisterConfig {
            app: DEMO_APP.to_owned(),
            id: id.to_owned(),
            addr,
            ttl: DEMO_TTL,
            pointsman_dev: this.clone(),
            etcd_url: etcd_url.clone(),
            log_dir: dirs.logs.clone(),
        };
        stack
            .add(RegisterProcess::spawn(&launcher, &register)?)
            .await?;
    }

    bind_demo(admin).await?;
    wait::until(
        &format!("{DEMO_HOST} through nginx"),
        PATIENCE,
        async || {
            let answer = http::get(edge, DEMO_HOST, "/")
                .await
                .map_err(|error| error.to_string())?;
            match answer.status {
                StatusCode::OK => Ok(()),
                status => Err(format!("{status}: {}", answer.text().trim())),
            }
        },
    )
    .await?;
    Ok(())
}

/// Binds the demo's host, unless it is bound already: a restart keeps what the
/// user has made of it.
async fn bind_demo(admin: std::net::SocketAddr) -> Result<(), DevError> {
    let path = format!("/v1/routes/{DEMO_HOST}");
    let what = || format!("bind {DEMO_HOST}");
    let found = http::get(admin, &admin.to_string(), &path)
        .await
        .map_err(DevError::http(what()))?;
    if found.status == StatusCode::OK {
        return Ok(());
    }
    let body = format!(r#"{{"app":"{DEMO_APP}"}}"#);
    let answer = http::send_json(admin, Method::PUT, &path, &body)
        .await
        .map_err(DevError::http(what()))?;
    if answer.status.is_success() {
        return Ok(());
    }
    Err(DevError::Refused {
        what: format!("PUT {path}"),
        status: answer.status.as_u16(),
        body: answer.text(),
    })
}

/// The folders of a run.
struct Dirs {
    data: PathBuf,
    logs: PathBuf,
}

impl Dirs {
    fn create(data: &Path) -> Result<Self, DevError> {
        let create = || {
            let data = std::path::absolute(data)?;
            let logs = data.join("logs");
            std::fs::create_dir_all(&logs)?;
            Ok(Self { data, logs })
        };
        create().map_err(DevError::io(format!(
            "create the folder {}",
            data.display()
        )))
    }
}

fn welcome(args: &DevArgs, dirs: &Dirs) -> String {
    let edge = args.at(args.edge_port);
    let api = args.at(args.api_port);
    let status = args.at(args.status_port);
    let etcd = args.at(args.etcd_port);
    let logs = dirs.logs.display();
    let looks = [
        (
            format!("curl -H 'Host: {DEMO_HOST}' http://{edge}/"),
            "from one, then the other",
        ),
        (
            format!("curl http://{api}/v1/apps/{DEMO_APP}"),
            "who is there",
        ),
        (
            format!("curl http://{api}/v1/status"),
            "whether all is in step",
        ),
        (
            format!("curl http://{status}/pointsman/status"),
            "what nginx says to that",
        ),
    ];
    let looks: String = looks
        .iter()
        .map(|(command, comment)| format!("  {command:<56} # {comment}\n"))
        .collect();
    format!(
        "
Pointsman runs. {DEMO_HOST} leads to two instances of the app {DEMO_APP}:

{looks}
Bind a host of your own, and see what that is in etcd:

  curl -X PUT -H 'Content-Type: application/json' -d '{{\"app\":\"{DEMO_APP}\"}}' \\
       http://{api}/v1/routes/my.localhost
  curl -H 'Host: my.localhost' http://{edge}/
  ETCDCTL_API=3 etcdctl --endpoints http://{etcd} get --prefix /pointsman/

Logs are in {logs}. Ctrl-C stops everything; routes are kept."
    )
}

fn starting(what: &str, url: &str) {
    say(&format!("  {what:<16} {url}"));
}

/// Tells the person at the terminal. If that is gone, there is nobody to tell.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _gone = writeln!(out, "{text}").and_then(|()| out.flush());
}
