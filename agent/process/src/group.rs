//! Children that lead a process group of their own: a Ctrl-C at the terminal
//! reaches only us, and what a child has started can be ended with it.

use std::ffi::OsStr;
use std::path::Path;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// The subcommand of this program that becomes another one, which then ends
/// with its parent.
pub const GUARD: &str = "guard";

/// A command that leads a group. With `guard`, the path of this program, it is
/// told to end (SIGTERM) when this process is killed.
pub fn leader(program: &OsStr, guard: Option<&Path>) -> Command {
    let mut command = match guard {
        None => Command::new(program),
        Some(guard) => {
            let mut command = Command::new(guard);
            let parent = std::process::id().to_string();
            command
                .args([GUARD, "--parent", &parent, "--"])
                .arg(program);
            command
        }
    };
    command.process_group(0);
    command
}

/// The group that a child leads.
#[derive(Clone, Copy, Debug)]
pub struct ProcessGroup(Pid);

impl ProcessGroup {
    /// That of a child from [`leader`]; `None` once it was waited for, since
    /// its number may be that of others then.
    pub fn of(child: &Child) -> Option<Self> {
        let id = child.id().and_then(|id| i32::try_from(id).ok())?;
        Some(Self(Pid::from_raw(id)))
    }

    /// The leader's process id.
    pub fn pid(self) -> i32 {
        self.0.as_raw()
    }

    /// Sends a signal to the leader alone.
    pub fn signal_leader(self, signal: Signal) -> nix::Result<()> {
        kill(self.0, signal)
    }

    /// Sends a signal to all of the group.
    pub fn signal_all(self, signal: Signal) -> nix::Result<()> {
        killpg(self.0, signal)
    }
}
