//! What every scenario is given.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use pointsman_dev::Source;
use pointsman_dev::process::Launcher;
use tempfile::TempDir;

use crate::cpu::Cores;
use crate::stack::agent_program;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// Only that it runs: for tests. Its figures mean nothing.
    Tiny,
    /// A first impression.
    Quick,
    /// What `bench/RESULTS.md` is made of.
    Full,
}

impl Size {
    /// One of three values.
    pub fn pick<T>(self, tiny: T, quick: T, full: T) -> T {
        match self {
            Self::Tiny => tiny,
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        self.pick("tiny", "quick", "full")
    }
}

/// What every scenario is given: the size, where things are, and which cores
/// belong to whom.
pub struct Context {
    /// How much is to be measured.
    pub size: Size,
    /// Starts child processes.
    pub launcher: Launcher,
    /// The repository's nginx and Lua files.
    pub source: Source,
    /// Which cores are whose.
    pub cores: Cores,
    begin: Instant,
    dir: TempDir,
}

impl Context {
    /// Finds the binaries and the repository around the current folder.
    pub fn new(size: Size) -> Result<Self> {
        Ok(Self {
            size,
            launcher: Launcher::new(agent_program()?),
            source: Source::around(Path::new("."))?,
            cores: Cores::of_this_machine()?,
            begin: Instant::now(),
            dir: tempfile::Builder::new()
                .prefix("pointsman-bench-")
                .tempdir()?,
        })
    }

    /// A new folder of that name; its logs go to `logs` within.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let mut path = self.dir.path().join(name);
        let mut number = 1;
        while path.exists() {
            number += 1;
            path = self.dir.path().join(format!("{name}-{number}"));
        }
        std::fs::create_dir_all(path.join("logs"))?;
        Ok(path)
    }

    /// Keeps all files, for whoever wants to see why it failed; answers where.
    pub fn keep(&mut self) -> &Path {
        self.dir.disable_cleanup(true);
        self.dir.path()
    }

    /// How long this run has taken until now.
    pub fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Tells whoever waits at the terminal.
    #[allow(clippy::print_stderr, reason = "progress, beside the results")]
    pub fn say(&self, text: &str) {
        eprintln!("{:>6.1} s  {text}", self.elapsed().as_secs_f64());
    }
}
