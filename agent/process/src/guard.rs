//! `pointsman guard`: becomes another program that cannot outlive its parent.
//!
//! A parent that is killed with -9 can tell its children nothing. Linux can:
//! a process may ask for a signal at its parent's death, and keeps that wish
//! when it becomes another program. Asking for it between fork and exec would
//! take unsafe code in the parent; a process of our own in between does not.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// Arguments of `pointsman guard`.
#[derive(clap::Args, Clone, Debug)]
pub struct GuardArgs {
    /// The parent's process id: if it is gone already, nothing is started.
    #[arg(long)]
    parent: i32,

    /// The program to become, with its arguments.
    #[arg(last = true, required = true, num_args = 1..)]
    command: Vec<OsString>,
}

/// Becomes the program. It returns only if that fails.
pub fn run(args: &GuardArgs) -> io::Error {
    if let Err(error) = die_with_parent(args.parent) {
        return error;
    }
    let Some((program, rest)) = args.command.split_first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program given");
    };
    let error = Command::new(program).args(rest).exec();
    io::Error::new(
        error.kind(),
        format!("failed to start {}: {error}", program.display()),
    )
}

/// From now on this process gets SIGTERM when its parent dies, for whatever
/// reason.
fn die_with_parent(parent: i32) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM)?;
    // It may have died before we asked.
    if getppid().as_raw() != parent {
        return Err(io::Error::other(
            "the process that started this one is gone",
        ));
    }
    Ok(())
}

/// The same for a process that goes on as itself.
pub fn follow_parent() -> io::Result<()> {
    die_with_parent(getppid().as_raw())
}
