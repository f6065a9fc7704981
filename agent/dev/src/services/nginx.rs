//! nginx with the repository's includes and Lua code.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use super::nginx_program::NginxProgram;
use super::{Service, create_dir};
use crate::error::DevError;
use crate::http;
use crate::process::{Launcher, Process, Spec};
use crate::source::Source;

const PATIENCE: Duration = Duration::from_secs(10);
const TEMPLATE: &str = include_str!("nginx.conf.in");

/// How to start it.
#[derive(Clone, Debug)]
pub struct NginxConfig {
    /// Where its includes and its Lua code are.
    pub source: Source,
    /// Where clients' requests arrive.
    pub edge: SocketAddr,
    /// Where it shows its status.
    pub status: SocketAddr,
    /// The Redis that it follows.
    pub redis_url: String,
    /// Worker processes.
    pub workers: usize,
    /// Lines for the server that takes requests: locations that a test needs.
    pub server_lines: String,
    /// Its configuration and temporary files.
    pub dir: PathBuf,
    /// Its log.
    pub log_dir: PathBuf,
}

/// A running nginx.
#[derive(Debug)]
pub struct NginxProcess {
    process: Process,
    edge: SocketAddr,
    status: SocketAddr,
}

impl NginxProcess {
    /// Starts it; [`Service::ready`] waits until it answers.
    pub fn spawn(launcher: &Launcher, config: &NginxConfig) -> Result<Self, DevError> {
        let program = NginxProgram::find()?;
        create_dir(&config.dir.join("tmp"))?;
        // nginx looks for an include beside its nginx.conf.
        link(&config.source.nginx().join("pointsman"), &config.dir)?;
        let conf = config.dir.join("nginx.conf");
        std::fs::write(&conf, render(config, &program))
            .map_err(DevError::io(format!("write {}", conf.display())))?;
        let mut spec = Spec::new("nginx", &program.path, ["-e", "stderr"], &config.log_dir);
        // The prefix must end with a slash.
        spec.args.extend(["-p".into(), config.dir.join("").into()]);
        spec.args.extend(["-c".into(), conf.into()]);
        let process = Process::spawn(launcher, spec)?;
        Ok(Self {
            process,
            edge: config.edge,
            status: config.status,
        })
    }

    /// Where clients' requests arrive.
    pub fn edge(&self) -> SocketAddr {
        self.edge
    }

    /// Where it shows its status.
    pub fn status(&self) -> SocketAddr {
        self.status
    }

    /// Starts new workers and lets the old ones finish.
    pub fn reload(&mut self) {
        self.process.signal(Signal::SIGHUP);
    }
}

#[async_trait(?Send)]
impl Service for NginxProcess {
    fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    async fn ready(&mut self) -> Result<(), DevError> {
        let addr = self.status;
        self.process
            .answers(PATIENCE, async || {
                let answer = http::get(addr, "localhost", "/pointsman/status")
                    .await
                    .map_err(|error| error.to_string())?;
                if answer.status.is_success() {
                    Ok(())
                } else {
                    Err(answer.status.to_string())
                }
            })
            .await
    }
}

/// Puts a link to `folder` into `dir`, in place of one that is there.
fn link(folder: &Path, dir: &Path) -> Result<(), DevError> {
    let link = dir.join("pointsman");
    match std::fs::remove_file(&link) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::os::unix::fs::symlink(folder, &link),
    }
    .map_err(DevError::io(format!("make {}", link.display())))
}

fn render(config: &NginxConfig, program: &NginxProgram) -> String {
    let modules: String = program
        .modules
        .iter()
        .map(|module| format!("load_module \"{}\";\n", module.display()))
        .collect();
    // Workers of a root's nginx would run as nobody, who may not read a source
    // folder in somebody's home.
    let user = if geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    TEMPLATE
        .replace("{modules}", &modules)
        .replace("{user}", user)
        .replace("{workers}", &config.workers.to_string())
        .replace("{lua}", &config.source.lua().display().to_string())
        .replace("{redis}", &config.redis_url)
        .replace("{edge}", &config.edge.to_string())
        .replace("{status}", &config.status.to_string())
        .replace("{server}", &config.server_lines)
}
