//! What a run was made on, and with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use pointsman_dev::programs;
use procfs::process::Process;
use procfs::{CurrentSI, KernelStats, ProcResult};
use serde::{Deserialize, Serialize};

use crate::context::Context;
use crate::peers;

/// The machine and the versions of all that takes part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Its processor.
    pub cpu: String,
    /// Its cores.
    pub cores: usize,
    /// Memory in MiB.
    pub memory: u64,
    /// Its kernel.
    pub kernel: String,
    /// Of programs; of those that are not installed there is none.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    /// This one.
    pub fn look(ctx: &Context) -> Self {
        let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu_info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
            .unwrap_or("unknown");
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let memory = procfs::Current::current()
            .map_or(0, |memory: procfs::Meminfo| memory.mem_total / 1024 / 1024);
        Self {
            cpu: cpu.to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory,
            kernel: kernel.trim().to_owned(),
            versions: versions(ctx),
        }
    }
}

fn versions(ctx: &Context) -> BTreeMap<String, String> {
    let find = |name| programs::find_all(name).into_iter().next();
    let known: [(&str, Option<PathBuf>, &[&str]); 7] = [
        ("nginx", find("nginx"), &["-v"]),
        ("etcd", find("etcd"), &["--version"]),
        ("Redis", find("redis-server"), &["--version"]),
        ("HAProxy", find("haproxy"), &["-v"]),
        ("Caddy", find("caddy"), &["version"]),
        ("Traefik", peers::traefik_program(ctx), &["version"]),
        ("Valgrind", find("valgrind"), &["--version"]),
    ];
    let mut found: BTreeMap<String, String> = known
        .into_iter()
        .filter_map(|(name, program, args)| Some((name.to_owned(), version(&program?, args)?)))
        .collect();
    let package = Path::new("/usr/bin/dpkg-query");
    let module = ["-W", "-f", "${Version}", "libnginx-mod-http-lua"];
    if let Some(text) = output(package, &module) {
        found.insert("lua-nginx-module (package)".to_owned(), text);
    }
    found
}

/// The first word of its answer that begins with a digit.
fn version(program: &Path, args: &[&str]) -> Option<String> {
    let text = output(program, args)?;
    let word = text
        .split(|c: char| c.is_whitespace() || "/=-v".contains(c))
        .find(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
    word.map(str::to_owned)
}

fn output(program: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    output.status.success().then(|| text.trim().to_owned())
}

/// When a section was measured, of what, and what the machine had to do then.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Moment {
    /// The time, UTC.
    pub date: String,
    /// The commit of the sources, `-dirty` if they were changed since.
    pub commit: String,
    /// Processes that wanted to run, the mean of the minute before it began.
    pub load_before: f32,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// How many cores other processes kept busy meanwhile.
    pub beside: Option<f64>,
}

/// CPU time in seconds: of all processes of the machine, and of this one with
/// its children that have ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Busy {
    all: f64,
    own: f64,
}

impl Busy {
    /// Until now.
    pub fn now() -> ProcResult<Self> {
        let tick = procfs::ticks_per_second() as f64;
        let total = KernelStats::current()?.total;
        let other = [total.irq, total.softirq, total.steal];
        let all = total.user + total.nice + total.system + other.into_iter().flatten().sum::<u64>();
        let me = Process::myself()?.stat()?;
        let children = (me.cutime + me.cstime) as f64;
        Ok(Self {
            all: all as f64 / tick,
            own: ((me.utime + me.stime) as f64 + children) / tick,
        })
    }

    /// Cores that others kept busy since then, so many seconds ago.
    pub fn beside(self, since: Self, seconds: f64) -> f64 {
        let others = (self.all - since.all) - (self.own - since.own);
        others.max(0.0) / seconds
    }
}

impl Moment {
    /// Now.
    pub fn now(ctx: &Context) -> Self {
        let root = ctx.source.root().display().to_string();
        let args = [
            "-C",
            &root,
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
        ];
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self {
            date: now.replace('T', " ").replace('Z', " UTC"),
            commit: output(Path::new("git"), &args).unwrap_or_default(),
            load_before: procfs::Current::current()
                .map_or(0.0, |load: procfs::LoadAverage| load.one),
            seconds: 0.0,
            beside: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_this_process_does_is_not_beside() {
        let (before, begin) = (Busy::now().unwrap(), Instant::now());
        let mut after = before;
        while after.own - before.own < 0.3 {
            after = Busy::now().unwrap();
        }
        let seconds = begin.elapsed().as_secs_f64();
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        let most = cores - 0.3 / seconds;
        let beside = after.beside(before, seconds);
        // The machine's count is made of ticks of 10 ms.
        assert!(beside < most + 0.05 / seconds, "{beside} of {most}");
    }
}
