//! CPU time of processes, and which cores they run on.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use procfs::process::{Process, all_processes};
use rustix::process::setpriority_process;
use serde::Serialize;

/// Which cores are whose: what is measured has one for itself, as long as there
/// are two.
#[derive(Clone, Debug)]
pub struct Cores {
    /// Of the proxy that is measured.
    pub subject: Vec<usize>,
    /// Of the apps, Redis, etcd and agents.
    pub others: Vec<usize>,
    /// Of the load.
    pub load: Vec<usize>,
}

impl Cores {
    /// From the cores that this process may use.
    pub fn of_this_machine() -> Result<Self> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let all: Vec<usize> = (0..CpuSet::count())
            .filter(|core| allowed.is_set(*core).unwrap_or_default())
            .collect();
        let (subject, others, load) = match all.as_slice() {
            [] | [_] => (all.clone(), all.clone(), all.clone()),
            [first, second] => (vec![*first], vec![*second], vec![*second]),
            [first, rest @ .., last] => (vec![*first], rest.to_vec(), vec![*last]),
        };
        Ok(Self {
            subject,
            others,
            load,
        })
    }
}

/// All of these cores.
pub fn all(cores: &Cores) -> Vec<usize> {
    let mut all = [&cores.subject[..], &cores.others, &cores.load].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// A process and all that come of it.
pub fn tree(root: i32) -> Result<Vec<i32>> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for process in all_processes()?.flatten() {
        if let Ok(stat) = process.stat() {
            children.entry(stat.ppid).or_default().push(stat.pid);
        }
    }
    let mut found = vec![root];
    let mut at = 0;
    while let Some(pid) = found.get(at) {
        found.extend(children.get(pid).into_iter().flatten());
        at += 1;
    }
    Ok(found)
}

/// Puts all threads of a process and of its children on these cores.
pub fn pin(root: i32, cores: &[usize]) -> Result<()> {
    for pid in tree(root)? {
        let tasks = Process::new(pid)?.tasks()?;
        for task in tasks.flatten() {
            pin_thread(task.tid, cores)?;
        }
    }
    Ok(())
}

/// Puts all threads that this process has on these cores.
pub fn pin_own(cores: &[usize]) -> Result<()> {
    for task in Process::myself()?.tasks()?.flatten() {
        let pinned = pin_thread(task.tid, cores);
        // It may have ended meanwhile.
        if std::fs::exists(format!("/proc/self/task/{}", task.tid))? {
            pinned?;
        }
    }
    Ok(())
}

/// Puts a thread on these cores; 0 is the one that calls.
pub fn pin_thread(tid: i32, cores: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    sched_setaffinity(Pid::from_raw(tid), &set).context("failed to choose a core")
}

/// What stands for the world outside is not to wait for what is measured.
const OUTSIDE: i32 = -20;

/// How the world outside comes before what is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Preference {
    /// As soon as it has something to do (`SCHED_FIFO`).
    AtOnce,
    /// By a nice value of -20.
    Nice,
    /// Not at all: neither is allowed.
    None,
}

/// Lets the world outside run first: all threads of a process and of its
/// children; 0 is the thread that calls. Answers whether that was allowed, as
/// it is to root.
pub fn prefer(root: i32) -> Result<bool> {
    if root == 0 {
        return Ok(setpriority_process(None, OUTSIDE).is_ok());
    }
    let mut preferred = true;
    for pid in tree(root)? {
        for task in Process::new(pid)?.tasks()?.flatten() {
            let tid = rustix::process::Pid::from_raw(task.tid);
            preferred &= setpriority_process(tid, OUTSIDE).is_ok();
        }
    }
    Ok(preferred)
}

/// Lets the world outside run at once (`SCHED_FIFO`), which [`prefer`] does not:
/// by their nice values those who wait get more of a core, but who has it keeps
/// it for a while. For what leaves most of a core to others. Where this is not
/// allowed, it is preferred at least.
pub fn go_first(root: i32) -> Result<Preference> {
    let tasks = if root == 0 {
        vec![rustix::thread::gettid().as_raw_nonzero().get()]
    } else {
        let mut tasks = Vec::new();
        for pid in tree(root)? {
            tasks.extend(Process::new(pid)?.tasks()?.flatten().map(|task| task.tid));
        }
        tasks
    };
    let mut first = true;
    for tid in tasks {
        let done = Command::new("chrt")
            .args(["--fifo", "--pid", "1", &tid.to_string()])
            .output();
        // One that has ended meanwhile needs it no more.
        first &= done.is_ok_and(|done| done.status.success())
            || !std::fs::exists(format!("/proc/{tid}"))?;
    }
    Ok(if first {
        Preference::AtOnce
    } else if prefer(root)? {
        Preference::Nice
    } else {
        Preference::None
    })
}

/// For how long the calling thread has waited for a core so far, and how often
/// it has been given one.
pub fn waited() -> Result<(Duration, u64)> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let mut fields = text.split_whitespace().skip(1).map(str::parse::<u64>);
    let mut field = || anyhow::Ok(fields.next().context("no schedstat")??);
    Ok((Duration::from_nanos(field()?), field()?))
}

/// CPU time that these processes have spent, in user and kernel.
pub fn spent(pids: &[i32]) -> Result<Duration> {
    pids.iter().map(|pid| spent_by(*pid)).sum()
}

/// The scheduler's own count has nanoseconds. Where it is missing, the clock
/// ticks of `/proc/<pid>/stat` (10 ms) must do.
fn spent_by(pid: i32) -> Result<Duration> {
    let mut sum = Duration::ZERO;
    let process = Process::new(pid)?;
    for task in process.tasks()?.flatten() {
        let path = format!("/proc/{pid}/task/{}/schedstat", task.tid);
        let Ok(text) = std::fs::read_to_string(path) else {
            let stat = process.stat()?;
            let seconds = (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64;
            return Ok(Duration::from_secs_f64(seconds));
        };
        let spent = text.split_whitespace().next().context("no schedstat")?;
        sum += Duration::from_nanos(spent.parse()?);
    }
    Ok(sum)
}

/// Memory of these processes in bytes, shared pages counted in each.
pub fn resident(pids: &[i32]) -> Result<u64> {
    let mut sum = 0;
    for pid in pids {
        sum += Process::new(*pid)?.stat()?.rss * procfs::page_size();
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn who_spins_spends_cpu_time() {
        let me = i32::try_from(std::process::id()).unwrap();
        let before = spent(&[me]).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(50) {
            std::hint::black_box(begin);
        }
        let after = spent(&[me]).unwrap();
        assert!(after > before, "{before:?} {after:?}");
    }

    #[test]
    fn a_child_is_in_the_tree() {
        let mut child = std::process::Command::new("sleep")
            .arg("9")
            .spawn()
            .unwrap();
        let me = i32::try_from(std::process::id()).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let found = tree(me).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&me) && found.contains(&pid));
    }
}
