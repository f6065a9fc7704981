//! Redis emptied, set back, halted, full, failed over; and what others write
//! into it.

use std::time::{Duration, Instant};

use anyhow::Result;
use pointsman_harness::services::Service;
use tokio::time::sleep;

use super::scene::{LATE_ANSWERS, Scene};
use super::{TIMES, agents};
use crate::stack::{ChaosStack, forget};

/// A slow Redis is halted for so long, and then runs for so long.
const HALTED: Duration = Duration::from_millis(100);
const RUNNING: Duration = Duration::from_millis(20);
/// No replica may follow the primary any more.
const NO_REPLICATION: [&[&str]; 2] = [
    &["ACL", "SETUSER", "default", "-psync", "-sync"],
    &["CLIENT", "KILL", "TYPE", "replica"],
];
/// Sentinel does not promote a replica that has been late for longer than 10 s.
const LATE: Duration = Duration::from_secs(3);

pub async fn emptied(at: &mut Scene<'_>) -> Result<()> {
    at.stack.call_primary(&["FLUSHALL"]).await?;
    sleep(at.spans.lasting).await;
    Ok(())
}

pub async fn emptied_unseen(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    agents::kill(at).await;
    at.stack.call_primary(&["FLUSHALL"]).await?;
    sleep(at.spans.lasting).await;
    agents::respawn(at).await
}

pub async fn restarted_empty(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.primary().process().kill().await;
    forget(&at.stack.snapshot())?;
    sleep(at.spans.lasting).await;
    at.stack.restart_primary().await
}

pub async fn paused(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.primary().process().pause();
    sleep(at.spans.lasting).await;
    at.stack.primary().process().resume();
    Ok(())
}

pub async fn slow(at: &mut Scene<'_>) -> Result<()> {
    let begin = Instant::now();
    while begin.elapsed() < at.spans.lasting {
        at.stack.primary().process().pause();
        sleep(HALTED).await;
        at.stack.primary().process().resume();
        sleep(RUNNING).await;
    }
    Ok(())
}

/// Each answer to an agent comes so late: changes still arrive.
pub async fn late(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    let late = at.late(LATE_ANSWERS);
    at.stack.to_agents.delay_answers(late);
    let followed = at.changes_arrive().await;
    sleep(at.spans.lasting).await;
    at.stack.to_agents.delay_answers(Duration::ZERO);
    followed
}

pub async fn set_back(at: &mut Scene<'_>) -> Result<()> {
    at.stack.call_primary(&["SAVE"]).await?;
    sleep(at.spans.lasting).await;
    at.facts.broken();
    at.stack.primary().process().kill().await;
    at.stack.restart_primary().await?;
    forget(&at.stack.snapshot())
}

pub async fn failed_over(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.call_replica(&["REPLICAOF", "NO", "ONE"]).await?;
    sleep(at.spans.lasting).await;
    at.stack.fail_over().await
}

pub async fn failed_over_by_sentinel(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    for command in NO_REPLICATION {
        at.stack.call_primary(command).await?;
    }
    sleep(at.spans.lasting.min(LATE)).await;
    at.stack.primary().process().kill().await;
    forget(&at.stack.snapshot())?;
    sleep(at.spans.lasting).await;
    at.stack.promoted().await
}

pub async fn scripts_forgotten(at: &mut Scene<'_>) -> Result<()> {
    for _ in 0..TIMES {
        at.stack.call_primary(&["SCRIPT", "FLUSH", "SYNC"]).await?;
        sleep(at.spans.lasting / TIMES).await;
    }
    Ok(())
}

/// The agents' address leads to the replica, which refuses their writes.
pub async fn read_only(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    let (primary, replica) = at.stack.both();
    at.stack.to_agents.point_to(replica);
    sleep(at.spans.lasting).await;
    at.stack.to_agents.point_to(primary);
    Ok(())
}

pub async fn full(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.config("maxmemory", "1").await?;
    sleep(at.spans.lasting).await;
    at.stack.config("maxmemory", "0").await
}

/// Agents look at the policy when they connect, and do not write to a Redis that
/// may throw records away.
pub async fn evicting(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.config("maxmemory", "1gb").await?;
    at.stack.config("maxmemory-policy", "allkeys-lru").await?;
    at.stack.to_agents.cut();
    at.stack.to_agents.mend();
    sleep(at.spans.lasting).await;
    at.stack.config("maxmemory-policy", "noeviction").await?;
    at.stack.config("maxmemory", "0").await
}

pub async fn cut_off_from_agents(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.to_agents.hold();
    sleep(at.spans.lasting).await;
    at.stack.to_agents.release();
    Ok(())
}

pub async fn cut_off_from_edge(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.to_edge.hold();
    sleep(at.spans.lasting).await;
    at.stack.to_edge.release();
    Ok(())
}

/// Records that are well-formed and wrong; nobody will notice by a change.
pub async fn changed_by_hand(at: &mut Scene<'_>) -> Result<()> {
    let wrong = "[\"1\",\"127.0.0.9:9\",100]";
    let nothing = "{\"rev\":\"1\",\"rules\":[]}";
    let commands: [&[&str]; 5] = [
        &["DEL", "pointsman:route:www.steady0.example"],
        &["DEL", "pointsman:inst:steady1"],
        &["HDEL", "pointsman:inst:steady0", "steady0-1"],
        &["HSET", "pointsman:inst:steady0", "x", wrong],
        &["SET", "pointsman:route:more.example", nothing],
    ];
    for command in commands {
        at.stack.call_primary(command).await?;
    }
    sleep(at.spans.lasting).await;
    Ok(())
}

/// Somebody writes past the agents, into records first, then into what holds
/// the table together.
pub async fn garbage(at: &mut Scene<'_>) -> Result<()> {
    let steps: [&[&[&str]]; TIMES as usize] = [
        &[
            &["SET", "pointsman:route:www.steady0.example", "{"],
            &[
                "HSET",
                "pointsman:inst:steady1",
                "bad",
                "[\"1\",\"h:80\",1]",
            ],
            &["SET", "pointsman:app:churn1", "\u{0}"],
            &["DEL", "pointsman:inst:churn0"],
            &["SET", "pointsman:inst:churn0", "not a hash"],
        ],
        &[
            &["DEL", "pointsman:changes"],
            &["SET", "pointsman:changes", "not a stream"],
        ],
        &[&["HSET", "pointsman:meta", "rev", "x", "state", "x"]],
        &[
            &["DEL", "pointsman:meta"],
            &["RPUSH", "pointsman:meta", "not a hash"],
        ],
    ];
    for step in steps {
        each(at.stack, step).await?;
        sleep(at.spans.lasting / TIMES).await;
    }
    Ok(())
}

async fn each(stack: &ChaosStack, commands: &[&[&str]]) -> Result<()> {
    for command in commands {
        stack.call_primary(command).await?;
    }
    Ok(())
}
