//! The command that `pointsman register` runs, in a process group of its own:
//! a Ctrl-C reaches it once, through us, and what must be ended by force is
//! ended with all that it has started.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use pointsman_process::group::{self, GUARD, ProcessGroup};
use tokio::process::Child;
use tokio::time::timeout;
use tracing::{debug, warn};

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(2);

/// A command that runs.
#[derive(Debug)]
pub(super) struct StartedCommand {
    child: Child,
    guarded: bool,
}

impl StartedCommand {
    /// Starts it, without the variables `private`. With `guard`, the path of
    /// this program, the command is told to end (SIGTERM) when this process is
    /// killed.
    pub(super) fn spawn(
        command: &[OsString],
        guard: Option<&Path>,
        private: &[String],
    ) -> io::Result<Self> {
        let (program, args) = command
            .split_first()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no command given"))?;
        let mut process = group::leader(program, guard);
        for variable in private {
            process.env_remove(variable);
        }
        let child = process.args(args).kill_on_drop(true).spawn()?;
        Ok(Self {
            child,
            guarded: guard.is_some(),
        })
    }

    /// Waits until the guard has become the command; with a command that
    /// cannot be executed this is the end already, with this exit code.
    pub(super) async fn started(&mut self) -> Option<u8> {
        while let Some(pid) = self.child.id().filter(|_| self.guarded) {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let is_guard = line.split(|byte| *byte == 0).nth(1) == Some(GUARD.as_bytes());
            if !line.is_empty() && !is_guard {
                break;
            }
            if let Ok(code) = timeout(GLANCE, self.ended()).await {
                return Some(code);
            }
        }
        None
    }

    /// Waits for its end. Cancel safe.
    pub(super) async fn ended(&mut self) -> u8 {
        match self.child.wait().await {
            Ok(status) => exit_code(status),
            Err(error) => {
                warn!(%error, "the command cannot be waited for");
                1
            }
        }
    }

    /// Passes a signal on to the command alone: what HUP or USR1 mean, its
    /// children learn from it.
    pub(super) fn pass_on(&self, signal: Signal) {
        self.send(signal, ProcessGroup::signal_leader);
    }

    /// Sends a signal to the command and all that it has started: a shell in
    /// between would keep it to itself.
    fn signal(&self, signal: Signal) {
        self.send(signal, ProcessGroup::signal_all);
    }

    fn send(&self, signal: Signal, how: fn(ProcessGroup, Signal) -> nix::Result<()>) {
        if let Some(group) = ProcessGroup::of(&self.child)
            && let Err(error) = how(group, signal)
        {
            debug!(%error, %signal, "the command did not get the signal");
        }
    }

    /// Ends it: by this signal, and after `grace` by force.
    pub(super) async fn end(&mut self, signal: Signal, grace: Duration) -> u8 {
        self.signal(signal);
        if let Ok(code) = timeout(grace, self.ended()).await {
            return code;
        }
        warn!(?grace, "the command did not end in time, killing it");
        self.kill().await
    }

    /// Ends it by force.
    pub(super) async fn kill(&mut self) -> u8 {
        self.signal(Signal::SIGKILL);
        self.ended().await
    }
}

/// As a shell has it: 128 and the signal, for a command that died of one.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|n| 128 + n));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
