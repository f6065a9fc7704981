//! The faults: each is injected, lasts, and is healed, while the load goes on.

use anyhow::Result;
use tokio::time::sleep;

use crate::churn::ChurnPace;

mod agents;
mod edge;
mod etcd;
mod members;
mod redis;
mod scene;

pub use scene::{Scene, Spans};

/// How often what comes several times comes.
const TIMES: u32 = 4;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
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
    RedisSlow,
    RedisLate,
    RedisSetBack,
    RedisFailedOver,
    RedisReadOnly,
    RedisFull,
    RedisEvicting,
    ScriptsForgotten,
    RedisGarbage,
    RecordsChanged,
    RedisEmptiedUnseen,
    RedisAwayNginxReloaded,
    AgentsCutOff,
    EdgeCutOff,
    EtcdRestarted,
    EtcdPaused,
    EtcdSlow,
    EtcdHalfDead,
    EtcdCompactedUnseen,
    EtcdMuchMissed,
    EtcdRestartedEmpty,
    EtcdSetBack,
    EtcdLeaderKilled,
    EtcdLeaderPaused,
    EtcdMemberKilled,
    EtcdMemberPaused,
    EtcdRolling,
    EtcdMajorityKilled,
    EtcdLate,
    EtcdVeryLate,
    TokensExpire,
    SentinelFailsOver,
    AllAtOnce,
    NginxReloaded,
    WorkersKilled,
}

/// What a fault needs around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Any stack.
    Nothing,
    /// One node of etcd, behind a relay.
    OneNode,
    /// Three nodes of etcd.
    Cluster,
    /// Sentinel before Redis, and tokens that expire before etcd.
    Guards,
}

impl FaultKind {
    pub const ALL: [Self; 46] = [
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
        Self::RedisSlow,
        Self::RedisLate,
        Self::RedisSetBack,
        Self::RedisFailedOver,
        Self::RedisReadOnly,
        Self::RedisFull,
        Self::RedisEvicting,
        Self::ScriptsForgotten,
        Self::RedisGarbage,
        Self::RecordsChanged,
        Self::RedisEmptiedUnseen,
        Self::RedisAwayNginxReloaded,
        Self::AgentsCutOff,
        Self::EdgeCutOff,
        Self::EtcdRestarted,
        Self::EtcdPaused,
        Self::EtcdSlow,
        Self::EtcdHalfDead,
        Self::EtcdCompactedUnseen,
        Self::EtcdMuchMissed,
        Self::EtcdRestartedEmpty,
        Self::EtcdSetBack,
        Self::EtcdLeaderKilled,
        Self::EtcdLeaderPaused,
        Self::EtcdMemberKilled,
        Self::EtcdMemberPaused,
        Self::EtcdRolling,
        Self::EtcdMajorityKilled,
        Self::EtcdLate,
        Self::EtcdVeryLate,
        Self::TokensExpire,
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
            Self::AgentPausedLong => "an agent paused for long",
            Self::AgentSlow => "agents of two speeds",
            Self::CompactionWhilePaused => "compaction while an agent is paused",
            Self::RedisEmptied => "Redis emptied",
            Self::RedisRestartedEmpty => "Redis killed, restarted empty",
            Self::RedisPaused => "Redis paused",
            Self::RedisSlow => "Redis slow (halted in turns)",
            Self::RedisLate => "answers of Redis 0.5 – 2 s late (relay)",
            Self::RedisSetBack => "Redis set back to a snapshot",
            Self::RedisFailedOver => "Redis fails over to a late replica",
            Self::RedisReadOnly => "agents led to a read-only replica",
            Self::RedisFull => "Redis full (maxmemory)",
            Self::RedisEvicting => "Redis may evict (maxmemory-policy)",
            Self::ScriptsForgotten => "Redis forgets scripts",
            Self::RedisGarbage => "garbage and wrong types in Redis",
            Self::RecordsChanged => "records in Redis changed by hand",
            Self::RedisEmptiedUnseen => "Redis emptied while no agent runs",
            Self::RedisAwayNginxReloaded => "nginx reloaded while Redis is away",
            Self::AgentsCutOff => "agents cut off from Redis (relay)",
            Self::EdgeCutOff => "edge cut off from Redis (relay)",
            Self::EtcdRestarted => "etcd killed, restarted",
            Self::EtcdPaused => "etcd paused",
            Self::EtcdSlow => "etcd slow (relay)",
            Self::EtcdHalfDead => "connections to etcd half dead (relay)",
            Self::EtcdCompactedUnseen => "compaction while cut off (relay)",
            Self::EtcdMuchMissed => "6 MiB missed while cut off (relay)",
            Self::EtcdRestartedEmpty => "etcd restarted empty, adopted",
            Self::EtcdSetBack => "etcd set back to a snapshot, adopted",
            Self::EtcdLeaderKilled => "etcd's leader killed, restarted",
            Self::EtcdLeaderPaused => "etcd's leader paused",
            Self::EtcdMemberKilled => "a member of etcd killed, restarted",
            Self::EtcdMemberPaused => "a member of etcd paused",
            Self::EtcdRolling => "members of etcd restarted one by one",
            Self::EtcdMajorityKilled => "most of etcd killed, restarted",
            Self::EtcdLate => "answers of etcd 0.5 – 2 s late (relay)",
            Self::EtcdVeryLate => "answers of etcd 2 – 5 s late (relay)",
            Self::TokensExpire => "etcd's tokens expire, connections cut",
            Self::SentinelFailsOver => "Sentinel fails over to a late replica",
            Self::AllAtOnce => "etcd, Redis, agents killed, restarted",
            Self::NginxReloaded => "nginx reloaded, several times",
            Self::WorkersKilled => "nginx workers killed, one by one",
        }
    }

    pub fn needs(self) -> Needs {
        match self {
            Self::EtcdSlow
            | Self::EtcdHalfDead
            | Self::EtcdCompactedUnseen
            | Self::EtcdMuchMissed
            | Self::EtcdRestartedEmpty
            | Self::EtcdSetBack => Needs::OneNode,
            Self::EtcdLeaderKilled
            | Self::EtcdLeaderPaused
            | Self::EtcdMemberKilled
            | Self::EtcdMemberPaused
            | Self::EtcdRolling
            | Self::EtcdMajorityKilled
            | Self::EtcdLate
            | Self::EtcdVeryLate => Needs::Cluster,
            Self::TokensExpire | Self::SentinelFailsOver => Needs::Guards,
            _ => Needs::Nothing,
        }
    }

    /// Whether only the comparison mends it that agents make at rest.
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
    pub async fn strike(self, at: &mut Scene<'_>) -> Result<()> {
        match self {
            Self::Nothing => nothing(at).await,
            Self::ConstantChanges => constant_changes(at).await,
            Self::AgentKilled => agents::one_killed(at).await,
            Self::AgentsKilled => agents::all_killed(at).await,
            Self::AgentPaused => agents::one_paused(at, at.spans.lasting).await,
            Self::AgentPausedLong => agents::one_paused(at, at.spans.long).await,
            Self::AgentSlow => agents::one_slow(at).await,
            Self::CompactionWhilePaused => agents::one_misses_a_compaction(at).await,
            Self::RedisEmptied => redis::emptied(at).await,
            Self::RedisRestartedEmpty => redis::restarted_empty(at).await,
            Self::RedisPaused => redis::paused(at).await,
            Self::RedisSlow => redis::slow(at).await,
            Self::RedisLate => redis::late(at).await,
            Self::RedisSetBack => redis::set_back(at).await,
            Self::RedisFailedOver => redis::failed_over(at).await,
            Self::RedisReadOnly => redis::read_only(at).await,
            Self::RedisFull => redis::full(at).await,
            Self::RedisEvicting => redis::evicting(at).await,
            Self::ScriptsForgotten => redis::scripts_forgotten(at).await,
            Self::RedisGarbage => redis::garbage(at).await,
            Self::RecordsChanged => redis::changed_by_hand(at).await,
            Self::RedisEmptiedUnseen => redis::emptied_unseen(at).await,
            Self::RedisAwayNginxReloaded => edge::reloaded_without_redis(at).await,
            Self::AgentsCutOff => redis::cut_off_from_agents(at).await,
            Self::EdgeCutOff => redis::cut_off_from_edge(at).await,
            Self::EtcdRestarted => etcd::restarted(at).await,
            Self::EtcdPaused => etcd::paused(at).await,
            Self::EtcdSlow => etcd::slow(at).await,
            Self::EtcdHalfDead => etcd::half_dead(at).await,
            Self::EtcdCompactedUnseen => etcd::compacted_while_cut_off(at).await,
            Self::EtcdMuchMissed => etcd::much_missed_while_cut_off(at).await,
            Self::EtcdRestartedEmpty => etcd::restarted_empty(at).await,
            Self::EtcdSetBack => etcd::set_back(at).await,
            Self::EtcdLeaderKilled => members::leader_killed(at).await,
            Self::EtcdLeaderPaused => members::leader_paused(at).await,
            Self::EtcdMemberKilled => members::follower_killed(at).await,
            Self::EtcdMemberPaused => members::follower_paused(at).await,
            Self::EtcdRolling => members::restarted_one_by_one(at).await,
            Self::EtcdMajorityKilled => members::majority_killed(at).await,
            Self::EtcdLate => etcd::late(at).await,
            Self::EtcdVeryLate => etcd::very_late(at).await,
            Self::TokensExpire => etcd::tokens_expire(at).await,
            Self::SentinelFailsOver => redis::failed_over_by_sentinel(at).await,
            Self::AllAtOnce => etcd::all_at_once(at).await,
            Self::NginxReloaded => edge::reloaded(at).await,
            Self::WorkersKilled => edge::workers_killed(at).await,
        }
    }
}

async fn nothing(at: &mut Scene<'_>) -> Result<()> {
    sleep(at.spans.lasting).await;
    Ok(())
}

async fn constant_changes(at: &mut Scene<'_>) -> Result<()> {
    at.churn.set(ChurnPace::Fast);
    sleep(at.spans.lasting).await;
    Ok(())
}
