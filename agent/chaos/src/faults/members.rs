//! Members of a cluster of etcd: killed, paused, restarted one by one.

use std::time::Duration;

use anyhow::Result;
use pointsman_harness::services::Service;
use tokio::time::sleep;

use super::scene::Scene;
use crate::churn::ChurnPace;

/// By then no request is under way at a member that is avoided.
const AVOIDED: Duration = Duration::from_millis(300);
/// By then agents have left a member that is silent: they give a watch up after
/// 6 s, and open another one with some tries.
const GIVEN_UP: Duration = Duration::from_secs(12);

pub async fn leader_killed(at: &mut Scene<'_>) -> Result<()> {
    changes_wait(at).await?;
    at.facts.broken();
    let leader = at.stack.etcd.leader().await?;
    let leader = at.stack.etcd.member(leader);
    leader.kill().await;
    sleep(at.spans.lasting).await;
    leader.respawn().await?;
    at.stack.etcd.ready().await
}

/// An agent is restarted meanwhile: one of its three endpoints is dead.
pub async fn follower_killed(at: &mut Scene<'_>) -> Result<()> {
    let follower = at.some_follower().await?;
    at.stack.etcd.member(follower).kill().await;
    sleep(at.spans.lasting / 2).await;
    let agent = at.some_agent();
    at.stack.agents[agent].process().respawn().await?;
    at.stack.agents[agent].ready().await?;
    sleep(at.spans.lasting / 2).await;
    at.stack.etcd.member(follower).respawn().await?;
    Ok(())
}

pub async fn leader_paused(at: &mut Scene<'_>) -> Result<()> {
    let leader = at.stack.etcd.leader().await?;
    paused(at, leader).await
}

pub async fn follower_paused(at: &mut Scene<'_>) -> Result<()> {
    let follower = at.some_follower().await?;
    paused(at, follower).await
}

async fn paused(at: &mut Scene<'_>, which: usize) -> Result<()> {
    let url = at.stack.etcd.url(which);
    // Else the changes would wait there, not go on.
    at.churn.still().await?;
    at.registry.keys.avoid(&url).await;
    sleep(AVOIDED).await;
    at.facts.broken();
    at.stack.etcd.member(which).pause();
    at.churn.set(ChurnPace::Normal);
    if !at.spans.is_short {
        sleep(GIVEN_UP).await;
        at.facts.whole();
    }
    sleep(at.spans.lasting).await;
    at.stack.etcd.member(which).resume();
    at.registry.keys.use_again(&url).await;
    Ok(())
}

pub async fn restarted_one_by_one(at: &mut Scene<'_>) -> Result<()> {
    changes_wait(at).await?;
    at.facts.broken();
    let members = at.stack.etcd.len();
    let pause = at.spans.lasting / u32::try_from(2 * members)?;
    for member in 0..members {
        at.stack.etcd.member(member).kill().await;
        sleep(pause).await;
        at.stack.etcd.member(member).respawn().await?;
        at.stack.etcd.ready().await?;
        sleep(pause).await;
    }
    Ok(())
}

pub async fn majority_killed(at: &mut Scene<'_>) -> Result<()> {
    changes_wait(at).await?;
    at.facts.broken();
    let spared = at.some_member();
    let killed = (0..at.stack.etcd.len()).filter(|member| *member != spared);
    for member in killed.clone() {
        at.stack.etcd.member(member).kill().await;
    }
    sleep(at.spans.lasting).await;
    for member in killed {
        at.stack.etcd.member(member).respawn().await?;
    }
    at.stack.etcd.ready().await
}

async fn changes_wait(at: &mut Scene<'_>) -> Result<()> {
    if at.spans.is_short {
        at.churn.still().await?;
    }
    Ok(())
}
