//! What can go wrong when services are started for a developer or a test.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::ports::PortHolder;

/// An error of `pointsman-dev` or of the services that it starts. Each one is
/// for a person to read: it says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevError {
    /// A port that a service needs is in use.
    #[error(
        "port {} on {} is taken{}, and {service} needs it: stop that process, or choose another \
         port with --{flag} (make run {})", .addr.port(), .addr.ip(), held_by(.holder),
        make_setting(.flag)
    )]
    PortTaken {
        /// The address that could not be had.
        addr: SocketAddr,
        /// Who wanted it.
        service: &'static str,
        /// The flag that moves it elsewhere.
        flag: &'static str,
        /// Who has it, as far as we may see.
        holder: Option<PortHolder>,
    },
    /// Two services were given the same port.
    #[error("port {port} is given to both {first} and {second}: choose another with --{flag}")]
    PortTwice {
        /// The port.
        port: u16,
        /// The service that was named first.
        first: &'static str,
        /// The service that wants it as well.
        second: &'static str,
        /// The flag of the second one.
        flag: &'static str,
    },
    /// etcd answers, and takes no settings.
    #[error("the settings that allow loopback cannot be written to etcd")]
    Settings(#[from] etcd_client::Error),
    /// Another `pointsman-dev` works in this folder.
    #[error(
        "pointsman-dev already runs{} with its data in {}: stop it with Ctrl-C there, or start \
         this one with another folder (--data-dir, make run DATA_DIR=…) and other ports",
        by_pid(.pid), .dir.display()
    )]
    AlreadyRunning {
        /// The other one, if it left its number.
        pid: Option<String>,
        /// The folder.
        dir: PathBuf,
    },
    /// A program is not installed.
    #[error("{program} was not found: {hint}")]
    NotInstalled {
        /// The program.
        program: String,
        /// What to do about it.
        hint: String,
    },
    /// The repository's own files are not where they should be.
    #[error(
        "{} holds no nginx/pointsman/http.conf and lua/pointsman.lua: run this in Pointsman's \
         source folder, or name it with --source", .0.display()
    )]
    NoSource(PathBuf),
    /// A process ended that should have gone on.
    #[error("{name} ended by itself ({status}); its log {} ends with:\n{tail}", .log.display())]
    Died {
        /// The service.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Where all of its log is.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// A service did not begin to answer in time.
    #[error(
        "{name} did not answer within {} s: {last}; its log {} ends with:\n{tail}",
        .waited.as_secs(), .log.display()
    )]
    NotReady {
        /// The service.
        name: String,
        /// How long it was given.
        waited: Duration,
        /// The last thing that was seen of it.
        last: String,
        /// Where all of its log is.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },
    /// Something was not reached in time.
    #[error(transparent)]
    TimedOut(#[from] super::wait::TimedOut),
    /// An HTTP exchange with something that we started failed.
    #[error("failed to {what}")]
    Http {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: super::http::HttpError,
    },
    /// The API refused something that it should accept.
    #[error("the admin API answered {status} to {what}: {body}")]
    Refused {
        /// What was asked.
        what: String,
        /// The status.
        status: u16,
        /// The answer.
        body: String,
    },
    /// A system call failed.
    #[error("failed to {what}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl DevError {
    /// For `map_err`: names what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// For `map_err`: names what was tried.
    pub fn http(what: impl Into<String>) -> impl FnOnce(super::http::HttpError) -> Self {
        let what = what.into();
        move |source| Self::Http { what, source }
    }
}

fn held_by(holder: &Option<PortHolder>) -> String {
    holder
        .as_ref()
        .map(|holder| format!(" by {holder}"))
        .unwrap_or_default()
}

fn by_pid(pid: &Option<String>) -> String {
    pid.as_ref()
        .map(|pid| format!(" (pid {pid})"))
        .unwrap_or_default()
}

/// `edge-port` → `EDGE_PORT=…`, as the Makefile has it.
fn make_setting(flag: &str) -> impl fmt::Display {
    format!("{}=…", flag.to_uppercase().replace('-', "_"))
}
