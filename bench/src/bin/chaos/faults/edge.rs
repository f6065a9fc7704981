//! nginx reloaded, and its workers killed.

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pointsman_dev::services::Service;
use tokio::time::sleep;

use super::TIMES;
use super::scene::Scene;
use crate::stack::forget;

pub async fn reloaded(at: &mut Scene<'_>) -> Result<()> {
    for _ in 0..TIMES {
        at.stack.nginx.reload();
        sleep(at.spans.lasting / TIMES).await;
    }
    Ok(())
}

pub async fn reloaded_without_redis(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.primary().process().kill().await;
    forget(&at.stack.snapshot())?;
    for _ in 0..TIMES {
        sleep(at.spans.lasting / TIMES).await;
        at.stack.nginx.reload();
    }
    at.stack.restart_primary().await
}

pub async fn workers_killed(at: &mut Scene<'_>) -> Result<()> {
    let master = at.stack.nginx.process().pid();
    for worker in children(master)? {
        // It may have gone since.
        let _gone = kill(Pid::from_raw(worker), Signal::SIGKILL);
        sleep(at.spans.lasting / TIMES).await;
    }
    Ok(())
}

/// The processes that this one has started.
fn children(pid: i32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    text.split_whitespace()
        .map(|word| word.parse().context("a process id is no number"))
        .collect()
}
