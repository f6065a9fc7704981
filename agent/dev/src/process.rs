//! A program that was started as a child: its log, its end, and the ways to
//! hasten it.
//!
//! Each child leads a process group of its own, so that a Ctrl-C at the
//! terminal reaches only us and we can stop all of them in the right order;
//! and each is started through [`pointsman_process::run_guard`], so that none outlives us.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::process::Child;
use tokio::time::timeout;

use super::error::DevError;
use super::wait;
use pointsman_process::group::{self, ProcessGroup};

/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;

/// How children are started: through the guard of this `pointsman` binary.
#[derive(Clone, Debug)]
pub struct Launcher {
    pointsman: PathBuf,
}

impl Launcher {
    /// With the `pointsman` binary at this path.
    pub fn new(pointsman: impl Into<PathBuf>) -> Self {
        Self {
            pointsman: pointsman.into(),
        }
    }

    /// With the `pointsman` that was built beside `program`.
    pub fn beside(program: &Path) -> Result<Self, DevError> {
        let pointsman = program.with_file_name("pointsman");
        if pointsman.is_file() {
            return Ok(Self::new(pointsman));
        }
        Err(DevError::NotInstalled {
            program: pointsman.display().to_string(),
            hint: "build it first (cargo build -p pointsman)".to_owned(),
        })
    }

    /// The `pointsman` binary.
    pub fn pointsman(&self) -> &Path {
        &self.pointsman
    }
}

/// What to start.
#[derive(Clone, Debug)]
pub struct Spec {
    /// What people call it; also the name of its log file.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside those that we have ourselves.
    pub env: Vec<(String, OsString)>,
    /// Where its output goes, appended.
    pub log: PathBuf,
}

impl Spec {
    /// A program with arguments, its log in `log_dir`.
    pub fn new<A: Into<OsString>>(
        name: &str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
        log_dir: &Path,
    ) -> Self {
        Self {
            name: name.to_owned(),
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            log: log_dir.join(format!("{name}.log")),
        }
    }

    /// With one more variable in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }
}

/// A running child. Dropped while it runs, it is killed with its whole group.
#[derive(Debug)]
pub struct Process {
    spec: Spec,
    launcher: Launcher,
    child: Child,
    group: ProcessGroup,
}

impl Process {
    /// Starts it.
    pub fn spawn(launcher: &Launcher, spec: Spec) -> Result<Self, DevError> {
        let child = start(launcher, &spec)?;
        let group = group_of(&child, &spec.name)?;
        Ok(Self {
            spec,
            launcher: launcher.clone(),
            child,
            group,
        })
    }

    /// Starts it again, as it was started first; what is left of it is killed.
    pub async fn respawn(&mut self) -> Result<(), DevError> {
        self.kill().await;
        self.child = start(&self.launcher, &self.spec)?;
        self.group = group_of(&self.child, &self.spec.name)?;
        Ok(())
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.group.pid()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end. Dropping the future loses nothing.
    pub async fn exited(&mut self) -> ExitStatus {
        self.child
            .wait()
            .await
            .unwrap_or_else(|_| ExitStatus::from_raw(0))
    }

    /// Waits for an end that should not come, as an error to show.
    pub async fn died(&mut self) -> DevError {
        let status = self.exited().await;
        self.died_with(status)
    }

    /// The same, of an end that was seen.
    fn died_with(&self, status: ExitStatus) -> DevError {
        let (log, tail) = (self.spec.log.clone(), self.log_tail());
        DevError::Died {
            name: self.spec.name.clone(),
            status,
            log,
            tail,
        }
    }

    /// Calls `probe` until it says that the service answers. An end of the
    /// process ends the waiting.
    pub async fn answers<F>(&mut self, limit: Duration, probe: F) -> Result<(), DevError>
    where
        F: AsyncFnMut() -> Result<(), String>,
    {
        let name = self.spec.name.clone();
        let found = tokio::select! {
            status = self.child.wait() => {
                let status = status.unwrap_or_else(|_| ExitStatus::from_raw(0));
                return Err(self.died_with(status));
            }
            found = wait::until(&name, limit, probe) => found,
        };
        found.map_err(|timed_out| DevError::NotReady {
            name,
            waited: timed_out.waited,
            last: timed_out.last,
            log: self.spec.log.clone(),
            tail: self.log_tail(),
        })
    }

    /// Sends a signal to the process alone, not to its children.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _gone = self.group.signal_leader(signal);
        }
    }

    /// Halts the whole group, as a machine that hangs.
    pub fn pause(&mut self) {
        let _gone = self.group.signal_all(Signal::SIGSTOP);
    }

    /// Lets the group go on.
    pub fn resume(&mut self) {
        let _gone = self.group.signal_all(Signal::SIGCONT);
    }

    /// Asks it to end, and kills it when it has not after `grace`.
    pub async fn stop(&mut self, grace: Duration) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.resume();
        match timeout(grace, self.exited()).await {
            Ok(status) => {
                // Whatever it left behind in its group.
                let _gone = self.group.signal_all(Signal::SIGKILL);
                status
            }
            Err(_) => self.kill().await,
        }
    }

    /// Kills it and all of its group, at once.
    pub async fn kill(&mut self) -> ExitStatus {
        let _gone = self.group.signal_all(Signal::SIGKILL);
        self.exited().await
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        tail(&self.spec.log, TAIL_LINES)
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.spec.log
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            let _gone = self.group.signal_all(Signal::SIGKILL);
        }
    }
}

fn start(launcher: &Launcher, spec: &Spec) -> Result<Child, DevError> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&spec.log)
        .map_err(DevError::io(format!("open {}", spec.log.display())))?;
    let errors = log
        .try_clone()
        .map_err(DevError::io(format!("open {}", spec.log.display())))?;
    group::leader(spec.program.as_os_str(), Some(&launcher.pointsman))
        .args(&spec.args)
        .envs(spec.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .spawn()
        .map_err(DevError::io(format!("start {}", spec.name)))
}

fn group_of(child: &Child, name: &str) -> Result<ProcessGroup, DevError> {
    ProcessGroup::of(child)
        .ok_or_else(|| DevError::io(format!("start {name}"))(io::Error::other("it has no pid")))
}

fn tail(path: &Path, lines: usize) -> String {
    let Ok(bytes) = std::fs::read(path) else {
        return "  (no log)".to_owned();
    };
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<&str> = text.lines().collect();
    let last = &all[all.len().saturating_sub(lines)..];
    if last.is_empty() {
        return "  (nothing)".to_owned();
    }
    last.iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_end_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("x.log");
        std::fs::write(&log, "one\ntwo\nthree\n").unwrap();
        assert_eq!(tail(&log, 2), "  two\n  three");
        assert_eq!(tail(&dir.path().join("none"), 2), "  (no log)");
    }
}
