//! The operator, who decides when agents hold: by the same command as anybody.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pointsman_harness::http;
use pointsman_harness::services::{AgentProcess, Service};
use tokio::process::Command;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until each of these agents says that it holds, and why.
pub async fn sees_them_hold(agents: &mut [AgentProcess]) -> Result<()> {
    for agent in agents {
        let addr = agent.admin();
        let holds = agent.process().answers(PATIENCE, async || {
            let answer = http::get(addr, &addr.to_string(), "/v1/status").await;
            let text = answer.map_err(|error| error.to_string())?.text();
            let status: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let reason = status["hold_reason"].as_str().unwrap_or_default();
            if status["phase"] == "holding" && reason.contains("pointsman adopt") {
                Ok(())
            } else {
                Err(text)
            }
        });
        holds.await?;
    }
    Ok(())
}

/// Looks at both sides, which must change nothing, and then lets etcd's content
/// replace the table in Redis.
pub async fn adopts(etcd: &str, redis: &str) -> Result<()> {
    let seen = pointsman(etcd, redis, &[]).await?;
    ensure!(seen.contains("nothing was changed"), "it said: {seen}");
    pointsman(etcd, redis, &["--yes"]).await?;
    Ok(())
}

async fn pointsman(etcd: &str, redis: &str, more: &[&str]) -> Result<String> {
    let mut command = Command::new(pointsman_harness::pointsman());
    command
        .args(["adopt", "--etcd-endpoints", etcd, "--redis-url", redis])
        .args(more)
        .kill_on_drop(true);
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.context("pointsman adopt does not end")??;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "pointsman adopt: {}, {said}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(said)
}
