//! etcd as a whole: away, slow, cut off, and set back.

use std::time::Duration;

use anyhow::Result;
use pointsman_harness::relay::Relay;
use pointsman_harness::services::Service;
use tokio::time::sleep;

use super::scene::{LATE_ANSWERS, Scene, VERY_LATE_ANSWERS};
use super::{TIMES, agents};
use crate::churn::ChurnPace;
use crate::operator;
use crate::stack::forget;

/// A slow etcd answers so much later, each way.
const DELAY: Duration = Duration::from_millis(100);
/// What is missed while cut off: more than the 4 MiB that a gRPC client takes
/// in one message if it is left as it is.
const LARGE: (usize, usize) = (100, 64 << 10);
/// By then a connection that is half dead has been given up: HTTP/2's pings end
/// it after 15 s.
const GIVEN_UP: Duration = Duration::from_secs(20);
/// A snapshot is older by so many revisions at least.
const OLDER: usize = 50;

pub async fn restarted(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    kill(at).await;
    sleep(at.spans.lasting).await;
    respawn(at).await
}

pub async fn paused(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    at.stack.etcd.processes().for_each(|node| node.pause());
    sleep(at.spans.lasting).await;
    at.stack.etcd.processes().for_each(|node| node.resume());
    Ok(())
}

pub async fn slow(at: &mut Scene<'_>) -> Result<()> {
    to_etcd(at, |relay| relay.delay(DELAY));
    sleep(at.spans.lasting).await;
    to_etcd(at, |relay| relay.delay(Duration::ZERO));
    Ok(())
}

/// Each answer comes so late, and the agents have to open their watches again:
/// changes still arrive.
pub async fn late(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    let late = at.late(LATE_ANSWERS);
    answer_late(at, late);
    let followed = at.changes_arrive().await;
    sleep(at.spans.lasting).await;
    to_etcd(at, |relay| relay.delay_answers(Duration::ZERO));
    followed
}

/// So late that calls are given up: nothing need arrive before it ends.
pub async fn very_late(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    let late = at.late(VERY_LATE_ANSWERS);
    answer_late(at, late);
    sleep(at.spans.lasting).await;
    to_etcd(at, |relay| relay.delay_answers(Duration::ZERO));
    Ok(())
}

fn answer_late(at: &Scene<'_>, late: Duration) {
    to_etcd(at, |relay| relay.delay_answers(late));
    to_etcd(at, Relay::cut);
    to_etcd(at, Relay::mend);
}

/// Everything is gone. The agents hold; whoever registered registers again, as
/// registrators do by themselves, and only then an operator adopts: the other
/// way round the edge would lose all routes.
pub async fn restarted_empty(at: &mut Scene<'_>) -> Result<()> {
    at.churn.still().await?;
    let content = at.registry.content().await;
    at.facts.broken();
    kill(at).await;
    at.stack.etcd.wipe()?;
    respawn(at).await?;
    operator::sees_them_hold(&mut at.stack.agents).await?;
    sleep(at.spans.lasting).await;
    at.registry.write(&content).await;
    operator::sees_them_hold(&mut at.stack.agents).await?;
    operator::adopts(&at.stack.etcd.urls(), &at.stack.primary_url()).await
}

/// A snapshot is restored; what happened since is lost, until an operator
/// adopts, after which that is the truth.
pub async fn set_back(at: &mut Scene<'_>) -> Result<()> {
    let snapshot = at.stack.etcd.save().await?;
    for _ in 0..OLDER {
        at.registry.bind("later.example", "probe").await;
    }
    at.churn.set(ChurnPace::Fast);
    sleep(at.spans.lasting / 2).await;
    at.churn.still().await?;
    at.facts.broken();
    kill(at).await;
    at.stack.etcd.restore(&snapshot).await?;
    forget(&snapshot)?;
    respawn(at).await?;
    operator::sees_them_hold(&mut at.stack.agents).await?;
    sleep(at.spans.lasting / 2).await;
    at.registry.believe(&at.instances.churning).await;
    operator::adopts(&at.stack.etcd.urls(), &at.stack.primary_url()).await
}

pub async fn compacted_while_cut_off(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    to_etcd(at, Relay::cut);
    at.churn.set(ChurnPace::Fast);
    sleep(at.spans.lasting).await;
    at.churn.set(ChurnPace::Normal);
    at.registry.compact().await?;
    to_etcd(at, Relay::mend);
    Ok(())
}

pub async fn much_missed_while_cut_off(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    to_etcd(at, Relay::cut);
    at.registry.write_large(LARGE.0, LARGE.1).await;
    sleep(at.spans.lasting).await;
    to_etcd(at, Relay::mend);
    Ok(())
}

/// Nothing is closed, and nothing arrives any more; new connections work.
pub async fn half_dead(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    to_etcd(at, Relay::hold_open_ones);
    if !at.spans.is_short {
        sleep(GIVEN_UP).await;
        at.facts.whole();
    }
    sleep(at.spans.lasting).await;
    to_etcd(at, Relay::release);
    Ok(())
}

/// Connections break off again and again, while tokens live for two seconds.
pub async fn tokens_expire(at: &mut Scene<'_>) -> Result<()> {
    for _ in 0..TIMES {
        at.facts.broken();
        to_etcd(at, Relay::cut);
        sleep(at.spans.lasting / TIMES).await;
        to_etcd(at, Relay::mend);
        sleep(at.spans.lasting / TIMES).await;
    }
    Ok(())
}

pub async fn all_at_once(at: &mut Scene<'_>) -> Result<()> {
    at.facts.broken();
    agents::kill(at).await;
    at.stack.primary().process().kill().await;
    forget(&at.stack.snapshot())?;
    kill(at).await;
    sleep(at.spans.lasting).await;
    // The agents first: they wait for the others.
    agents::respawn(at).await?;
    at.stack.restart_primary().await?;
    respawn(at).await
}

fn to_etcd(at: &Scene<'_>, change: impl Fn(&Relay)) {
    at.stack.to_etcd.iter().for_each(change);
}

async fn kill(at: &mut Scene<'_>) {
    for node in at.stack.etcd.processes() {
        node.kill().await;
    }
}

async fn respawn(at: &mut Scene<'_>) -> Result<()> {
    for node in at.stack.etcd.processes() {
        node.respawn().await?;
    }
    at.stack.etcd.ready().await
}
