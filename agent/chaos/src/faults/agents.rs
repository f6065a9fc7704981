//! Agents that die, stand still, or are slow.

use std::time::{Duration, Instant};

use anyhow::Result;
use pointsman_harness::services::Service;
use tokio::time::sleep;

use super::scene::Scene;
use crate::churn::ChurnPace;

/// A slow agent is halted for so long, and then runs for so long.
const HALTED: Duration = Duration::from_millis(200);
const RUNNING: Duration = Duration::from_millis(20);

pub async fn one_killed(at: &mut Scene<'_>) -> Result<()> {
    let which = at.some_agent();
    at.stack.agents[which].process().kill().await;
    sleep(at.spans.lasting).await;
    at.stack.agents[which].process().respawn().await?;
    Ok(())
}

pub async fn all_killed(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    kill(at).await;
    sleep(at.spans.lasting).await;
    respawn(at).await
}

pub async fn one_paused(at: &mut Scene<'_>, lasting: Duration) -> Result<()> {
    let which = at.some_agent();
    at.stack.agents[which].process().pause();
    sleep(lasting).await;
    at.stack.agents[which].process().resume();
    Ok(())
}

pub async fn one_slow(at: &mut Scene<'_>) -> Result<()> {
    let which = at.some_agent();
    let begin = Instant::now();
    while begin.elapsed() < at.spans.lasting {
        at.stack.agents[which].process().pause();
        sleep(HALTED).await;
        at.stack.agents[which].process().resume();
        sleep(RUNNING).await;
    }
    Ok(())
}

pub async fn one_misses_a_compaction(at: &mut Scene<'_>) -> Result<()> {
    let which = at.some_agent();
    at.stack.agents[which].process().pause();
    at.churn.set(ChurnPace::Fast);
    sleep(at.spans.lasting).await;
    at.churn.set(ChurnPace::Normal);
    at.registry.compact().await?;
    at.stack.agents[which].process().resume();
    Ok(())
}

pub async fn kill(at: &mut Scene<'_>) {
    for agent in &mut at.stack.agents {
        agent.process().kill().await;
    }
}

pub async fn respawn(at: &mut Scene<'_>) -> Result<()> {
    for agent in &mut at.stack.agents {
        agent.process().respawn().await?;
    }
    Ok(())
}
