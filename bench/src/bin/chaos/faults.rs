//! The faults: each is injected, lasts, and is healed, while the load goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pointsman::dev::services::Service;
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::time::sleep;

use crate::churn::{Churn, Pace};
use crate::facts::Facts;
use crate::registry::Registry;
use crate::stack::{Stack, forget};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Nothing,
    ConstantChanges,
    AgentKilled,
    AgentsKilled,
    AgentPaused,
    AgentPausedLong,
    AgentSlow,
    CompactionWhilePaused,
    RedisEmptied,
    RedisRestartedEmpty,
    RedisPaused,
    RedisSetBack,
    RedisFailedOver,
    RedisGarbage,
    RecordsChanged,
    RedisEmptiedUnseen,
    RedisAwayNginxReloaded,
    AgentsCutOff,
    EdgeCutOff,
    EtcdRestarted,
    EtcdPaused,
    EtcdLeaderKilled,
    EtcdMemberKilled,
    EtcdMemberPaused,
    EtcdMajorityKilled,
    SentinelFailsOver,
    AllAtOnce,
    NginxReloaded,
    WorkersKilled,
}

impl Fault {
    pub const ALL: [Self; 29] = [
        Self::Nothing,
        Self::ConstantChanges,
        Self::AgentKilled,
        Self::AgentsKilled,
        Self::AgentPaused,
        Self::AgentPausedLong,
        Self::AgentSlow,
        Self::CompactionWhilePaused,
        Self::RedisEmptied,
        Self::RedisRestartedEmpty,
        Self::RedisPaused,
        Self::RedisSetBack,
        Self::RedisFailedOver,
        Self::RedisGarbage,
        Self::RecordsChanged,
        Self::RedisEmptiedUnseen,
        Self::RedisAwayNginxReloaded,
        Self::AgentsCutOff,
        Self::EdgeCutOff,
        Self::EtcdRestarted,
        Self::EtcdPaused,
        Self::EtcdLeaderKilled,
        Self::EtcdMemberKilled,
        Self::EtcdMemberPaused,
        Self::EtcdMajorityKilled,
        Self::SentinelFailsOver,
        Self::AllAtOnce,
        Self::NginxReloaded,
        Self::WorkersKilled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::ConstantChanges => "instances change as fast as etcd can",
            Self::AgentKilled => "an agent killed, restarted",
            Self::AgentsKilled => "both agents killed, restarted",
            Self::AgentPaused => "an agent paused",
            Self::AgentPausedLong => "an agent paused for a minute",
            Self::AgentSlow => "agents of two speeds",
            Self::CompactionWhilePaused => "compaction while an agent is paused",
            Self::RedisEmptied => "Redis emptied",
            Self::RedisRestartedEmpty => "Redis killed, restarted empty",
            Self::RedisPaused => "Redis paused",
            Self::RedisSetBack => "Redis set back to a snapshot",
            Self::RedisFailedOver => "Redis fails over to a late replica",
            Self::RedisGarbage => "garbage and wrong types in Redis",
            Self::RecordsChanged => "records in Redis changed by hand",
            Self::RedisEmptiedUnseen => "Redis emptied while no agent runs",
            Self::RedisAwayNginxReloaded => "nginx reloaded while Redis is away",
            Self::AgentsCutOff => "agents cut off from Redis (relay)",
            Self::EdgeCutOff => "edge cut off from Redis (relay)",
            Self::EtcdRestarted => "etcd killed, restarted",
            Self::EtcdPaused => "etcd paused",
            Self::EtcdLeaderKilled => "etcd's leader killed, restarted",
            Self::EtcdMemberKilled => "a member of etcd killed, restarted",
            Self::EtcdMemberPaused => "a member of etcd paused",
            Self::EtcdMajorityKilled => "most of etcd killed, restarted",
            Self::SentinelFailsOver => "Sentinel fails over to a late replica",
            Self::AllAtOnce => "etcd, Redis, agents killed, restarted",
            Self::NginxReloaded => "nginx reloaded, several times",
            Self::WorkersKilled => "nginx workers killed, one by one",
        }
    }

    /// Whether it needs three nodes of etcd.
    pub fn needs_cluster(self) -> bool {
        matches!(
            self,
            Self::EtcdLeaderKilled
                | Self::EtcdMemberKilled
                | Self::EtcdMemberPaused
                | Self::EtcdMajorityKilled
        )
    }

    /// Whether it needs Sentinel.
    pub fn needs_sentinel(self) -> bool {
        self == Self::SentinelFailsOver
    }

    /// Whether it takes a minute.
    pub fn is_long(self) -> bool {
        matches!(self, Self::AgentPausedLong | Self::EtcdMemberPaused) || self.mends_slowly()
    }

    /// Whether only the comparison mends it that agents make once a minute.
    pub fn mends_slowly(self) -> bool {
        self == Self::RecordsChanged
    }

    /// Whether plain nginx, too, would have broken off exchanges.
    pub fn takes_connections(self) -> bool {
        matches!(
            self,
            Self::NginxReloaded | Self::WorkersKilled | Self::RedisAwayNginxReloaded
        )
    }

    /// Injects it, keeps it for so long, and heals it.
    pub async fn strike(self, at: &mut Scene<'_>, lasting: Duration) -> Result<()> {
        match self {
            Self::Nothing => sleep(lasting).await,
            Self::ConstantChanges => {
                at.churn.set(Pace::Fast);
                sleep(lasting).await;
            }
            Self::AgentKilled => {
                let which = at.some_agent();
                at.stack.agents[which].process().kill().await;
                sleep(lasting).await;
                at.stack.agents[which].process().respawn().await?;
            }
            Self::AgentsKilled => {
                at.facts.broken();
                for agent in &mut at.stack.agents {
                    agent.process().kill().await;
                }
                sleep(lasting).await;
                for agent in &mut at.stack.agents {
                    agent.process().respawn().await?;
                }
            }
            Self::AgentPaused => {
                let which = at.some_agent();
                at.stack.agents[which].process().pause();
                sleep(lasting).await;
                at.stack.agents[which].process().resume();
            }
            Self::AgentPausedLong => {
                let which = at.some_agent();
                at.stack.agents[which].process().pause();
                sleep(MINUTE).await;
                at.stack.agents[which].process().resume();
            }
            Self::AgentSlow => {
                let which = at.some_agent();
                let begin = Instant::now();
                while begin.elapsed() < lasting {
                    at.stack.agents[which].process().pause();
                    sleep(HALTED).await;
                    at.stack.agents[which].process().resume();
                    sleep(RUNNING).await;
                }
            }
            Self::CompactionWhilePaused => {
                let which = at.some_agent();
                at.stack.agents[which].process().pause();
                at.churn.set(Pace::Fast);
                sleep(lasting).await;
                at.churn.set(Pace::Normal);
                at.registry.compact().await?;
                at.stack.agents[which].process().resume();
            }
            Self::RedisEmptied => {
                at.stack.call_primary(&["FLUSHALL"]).await?;
                sleep(lasting).await;
            }
            Self::RedisRestartedEmpty => {
                at.facts.broken();
                at.stack.primary().process().kill().await;
                forget(&at.stack.snapshot())?;
                sleep(lasting).await;
                at.stack.restart_primary().await?;
            }
            Self::RedisPaused => {
                at.facts.broken();
                at.stack.primary().process().pause();
                sleep(lasting).await;
                at.stack.primary().process().resume();
            }
            Self::RedisSetBack => {
                at.stack.call_primary(&["SAVE"]).await?;
                sleep(lasting).await;
                at.facts.broken();
                at.stack.primary().process().kill().await;
                at.stack.restart_primary().await?;
                forget(&at.stack.snapshot())?;
            }
            Self::RedisFailedOver => {
                at.facts.broken();
                at.stack.call_replica(&["REPLICAOF", "NO", "ONE"]).await?;
                sleep(lasting).await;
                at.stack.fail_over().await?;
            }
            Self::RedisGarbage => garbage(at.stack, lasting).await?,
            Self::RecordsChanged => {
                for command in BY_HAND {
                    at.stack.call_primary(command).await?;
                }
                sleep(lasting).await;
            }
            Self::RedisEmptiedUnseen => {
                at.facts.broken();
                for agent in &mut at.stack.agents {
                    agent.process().kill().await;
                }
                at.stack.call_primary(&["FLUSHALL"]).await?;
                sleep(lasting).await;
                for agent in &mut at.stack.agents {
                    agent.process().respawn().await?;
                }
            }
            Self::RedisAwayNginxReloaded => {
                at.facts.broken();
                at.stack.primary().process().kill().await;
                forget(&at.stack.snapshot())?;
                for _ in 0..TIMES {
                    sleep(lasting / TIMES).await;
                    at.stack.nginx.reload();
                }
                at.stack.restart_primary().await?;
            }
            Self::AgentsCutOff => {
                at.facts.broken();
                at.stack.to_agents.hold(true);
                sleep(lasting).await;
                at.stack.to_agents.hold(false);
            }
            Self::EdgeCutOff => {
                at.facts.broken();
                at.stack.to_edge.hold(true);
                sleep(lasting).await;
                at.stack.to_edge.hold(false);
            }
            Self::EtcdRestarted => {
                at.facts.broken();
                for node in at.stack.etcd.processes() {
                    node.kill().await;
                }
                sleep(lasting).await;
                for node in at.stack.etcd.processes() {
                    node.respawn().await?;
                }
                at.stack.etcd.ready().await?;
            }
            Self::EtcdPaused => {
                at.facts.broken();
                at.stack.etcd.processes().for_each(|node| node.pause());
                sleep(lasting).await;
                at.stack.etcd.processes().for_each(|node| node.resume());
            }
            Self::EtcdLeaderKilled => {
                at.facts.broken();
                let leader = at.stack.etcd.leader().await?;
                let leader = at.stack.etcd.member(leader);
                leader.kill().await;
                sleep(lasting).await;
                leader.respawn().await?;
            }
            Self::EtcdMemberKilled => {
                let follower = at.some_follower().await?;
                let follower = at.stack.etcd.member(follower);
                follower.kill().await;
                sleep(lasting).await;
                follower.respawn().await?;
            }
            Self::EtcdMemberPaused => {
                let follower = at.some_follower().await?;
                let url = at.stack.etcd.url(follower);
                // Else the changes would wait there, not go on.
                at.churn.set(Pace::Still);
                at.registry.avoid(&url).await?;
                sleep(AVOIDED).await;
                at.facts.broken();
                let follower = at.stack.etcd.member(follower);
                follower.pause();
                at.churn.set(Pace::Normal);
                sleep(GIVEN_UP).await;
                at.facts.whole();
                sleep(lasting).await;
                follower.resume();
                at.registry.use_again(&url).await?;
            }
            Self::EtcdMajorityKilled => {
                at.facts.broken();
                let spared = at.some_member();
                let killed = (0..at.stack.etcd.len()).filter(|member| *member != spared);
                for member in killed.clone() {
                    at.stack.etcd.member(member).kill().await;
                }
                sleep(lasting).await;
                for member in killed {
                    at.stack.etcd.member(member).respawn().await?;
                }
                at.stack.etcd.ready().await?;
            }
            Self::SentinelFailsOver => {
                at.facts.broken();
                for command in NO_REPLICATION {
                    at.stack.call_primary(command).await?;
                }
                sleep(lasting.min(LATE)).await;
                at.stack.primary().process().kill().await;
                forget(&at.stack.snapshot())?;
                sleep(lasting).await;
                at.stack.promoted().await?;
            }
            Self::AllAtOnce => {
                at.facts.broken();
                for agent in &mut at.stack.agents {
                    agent.process().kill().await;
                }
                at.stack.primary().process().kill().await;
                forget(&at.stack.snapshot())?;
                for node in at.stack.etcd.processes() {
                    node.kill().await;
                }
                sleep(lasting).await;
                // The agents first: they wait for the others.
                for agent in &mut at.stack.agents {
                    agent.process().respawn().await?;
                }
                at.stack.restart_primary().await?;
                for node in at.stack.etcd.processes() {
                    node.respawn().await?;
                }
                at.stack.etcd.ready().await?;
            }
            Self::NginxReloaded => {
                for _ in 0..TIMES {
                    at.stack.nginx.reload();
                    sleep(lasting / TIMES).await;
                }
            }
            Self::WorkersKilled => {
                let master = at.stack.nginx.process().pid();
                for worker in children(master)? {
                    // It may have gone since.
                    let _gone = kill(Pid::from_raw(worker), Signal::SIGKILL);
                    sleep(lasting / TIMES).await;
                }
            }
        }
        Ok(())
    }
}

/// Records that are well-formed and wrong; nobody will notice by a change.
const BY_HAND: [&[&str]; 5] = [
    &["DEL", "pointsman:route:www.steady0.example"],
    &["DEL", "pointsman:inst:steady1"],
    &["HDEL", "pointsman:inst:steady0", "steady0-1"],
    &[
        "HSET",
        "pointsman:inst:steady0",
        "x",
        "[\"1\",\"127.0.0.9:9\",100]",
    ],
    &[
        "SET",
        "pointsman:route:more.example",
        "{\"rev\":\"1\",\"rules\":[]}",
    ],
];

/// No replica may follow the primary any more.
const NO_REPLICATION: [&[&str]; 2] = [
    &["ACL", "SETUSER", "default", "-psync", "-sync"],
    &["CLIENT", "KILL", "TYPE", "replica"],
];
/// Sentinel does not promote a replica that has been late for longer than 5 s.
const LATE: Duration = Duration::from_secs(3);

/// How often what comes several times comes.
const TIMES: u32 = 4;
const MINUTE: Duration = Duration::from_secs(60);
/// A slow agent is halted for so long, and then runs for so long.
const HALTED: Duration = Duration::from_millis(200);
const RUNNING: Duration = Duration::from_millis(20);
/// By then the agents have left a member of etcd that is silent: they give a
/// watch up after 15 s.
const GIVEN_UP: Duration = Duration::from_secs(25);
/// By then no change is under way at a member that is avoided.
const AVOIDED: Duration = Duration::from_millis(300);

/// What a fault may touch.
pub struct Scene<'a> {
    pub stack: &'a mut Stack,
    pub churn: &'a Churn,
    pub registry: &'a Registry,
    pub facts: &'a Facts,
    pub random: &'a mut StdRng,
}

impl Scene<'_> {
    fn some_agent(&mut self) -> usize {
        self.random.random_range(0..self.stack.agents.len())
    }

    fn some_member(&mut self) -> usize {
        self.random.random_range(0..self.stack.etcd.len())
    }

    /// A member of etcd that does not lead.
    async fn some_follower(&mut self) -> Result<usize> {
        let leader = self.stack.etcd.leader().await?;
        let members = self.stack.etcd.len();
        Ok((leader + self.random.random_range(1..members)) % members)
    }
}

/// Somebody writes past the agents, into records first, then into what holds
/// the table together.
async fn garbage(stack: &Stack, lasting: Duration) -> Result<()> {
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
        for command in step {
            stack.call_primary(command).await?;
        }
        sleep(lasting / TIMES).await;
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
