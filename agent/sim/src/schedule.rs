//! Schedules: what happens to a registry, its stores and its agents, in order.

use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// The agents of a simulation.
pub const AGENTS: usize = 2;

/// Keys that schedules write: few, so that everything meets everything.
pub const KEYS: [&str; 22] = [
    "routes/a.example.com",
    "routes/*.example.com",
    "routes/b.a.example.com",
    "routes/*",
    "routes/10.0.0.1",
    "apps/shop",
    "instances/shop/1",
    "instances/shop/2",
    "instances/shop-2/1",
    "instances/blog/1",
    "instances/blog/2",
    "routes/Bad.example.com",
    "settings",
    "apps/blog",
    "overrides/shop/1",
    "overrides/blog/1",
    "health/shop/1",
    "health/shop/2",
    "health/blog/1",
    "pauses/a.example.com",
    "pauses/*.example.com",
    "pending",
];

/// Values for [`KEYS`]; which of them are valid depends on the key.
pub const VALUES: [&str; 15] = [
    r#"{"app":"shop"}"#,
    r#"{"rules":[{"path":"/","to":[{"app":"blog"}]}]}"#,
    "10.0.0.1:80",
    r#"{"addr":"10.0.0.2:80","weight":7}"#,
    r#"{"retries":3}"#,
    "{",
    r#"{"allowed_networks":["10.0.0.1/32"]}"#,
    r#"{"defaults":{"retries":2,"health_check":{}}}"#,
    r#"{"balance":"ewma","health_check":{}}"#,
    r#"{"draining":true}"#,
    r#"{"up":false,"reason":"status 503"}"#,
    r#"{"rules":[{"path":"/a","to":[{"app":"shop"},{"app":"blog"}]},{"redirect":{"path":"/a"}}]}"#,
    r#"{"up":true}"#,
    r#"{"up":false,"pending":true,"reason":"no connection"}"#,
    r#"{"max":5}"#,
];

/// A write to a key: a value, or its deletion.
pub type SimWrite = (usize, Option<usize>);

/// Something that happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Action {
    /// Time passes, in milliseconds.
    Wait(u64),
    /// Keys are written in one transaction.
    Commit(Vec<SimWrite>),
    /// etcd forgets its history up to now.
    Compact,
    /// All watches break off.
    BreakWatches,
    /// etcd is away for so long.
    StoreDown(u64),
    /// Redis is away for so long.
    SinkDown(u64),
    /// From here on each answer of etcd, and each event of a watch, comes so
    /// many milliseconds late.
    StoreLate(u64),
    /// From here on each answer of Redis comes so late.
    SinkLate(u64),
    /// Redis is emptied.
    Flush,
    /// Redis is set back to what it was so many actions ago.
    SetBack(usize),
    /// An agent is killed; its messages may still arrive.
    Kill(usize),
    /// An agent that was killed is started again.
    Start(usize),
    /// An agent stands still for so long.
    Pause(usize, u64),
    /// From here on so many of a hundred messages are lost, late or doubled.
    Noise(u8),
    /// Somebody puts a value of a wrong type where ours belong.
    WrongType(usize),
    /// Somebody overwrites a record.
    Garbage(usize),
    /// etcd deletes a key without telling.
    LoseDeletion(usize),
}

/// A schedule, and the seed of all that is random while it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Schedule {
    /// The seed.
    pub seed: u64,
    /// What happens.
    pub actions: Vec<Action>,
}

fn write() -> impl Strategy<Value = SimWrite> {
    // Mostly a value that is valid for the key.
    (0..KEYS.len(), 0..10_u8, 0..VALUES.len()).prop_map(|(key, dice, any)| {
        let value = match (dice, KEYS[key].split_once('/').map(|(kind, _)| kind)) {
            (0..=2, _) => return (key, None),
            (3, _) => any,
            (_, Some("routes")) => [0, 1, 11][any % 3],
            (_, Some("instances")) => 2 + any % 2,
            (_, Some("overrides")) => 9,
            (_, Some("health")) => [10, 12, 13][any % 3],
            (_, Some("pauses")) => 14,
            (_, Some(_)) => [4, 8][any % 2],
            (_, None) => 6 + any % 2,
        };
        (key, Some(value))
    })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (1..1500_u64).prop_map(Action::Wait),
        10 => prop::collection::vec(write(), 1..4).prop_map(Action::Commit),
        2 => Just(Action::Compact),
        1 => Just(Action::BreakWatches),
        1 => (100..8000_u64).prop_map(Action::StoreDown),
        1 => (100..8000_u64).prop_map(Action::SinkDown),
        1 => late().prop_map(Action::StoreLate),
        1 => late().prop_map(Action::SinkLate),
        1 => Just(Action::Flush),
        2 => (1..10_usize).prop_map(Action::SetBack),
        1 => (0..AGENTS).prop_map(Action::Kill),
        1 => (0..AGENTS).prop_map(Action::Start),
        1 => (0..AGENTS, 100..20_000_u64).prop_map(|(agent, ms)| Action::Pause(agent, ms)),
        2 => (0..40_u8).prop_map(Action::Noise),
        1 => (0..KEYS.len() + 2).prop_map(Action::WrongType),
        1 => (0..KEYS.len()).prop_map(Action::Garbage),
        1 => (0..KEYS.len()).prop_map(Action::LoseDeletion),
    ]
}

fn late() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 500..=5_000_u64]
}

/// All schedules.
pub fn schedules() -> impl Strategy<Value = Schedule> {
    (any::<u64>(), prop::collection::vec(action(), 1..40))
        .prop_map(|(seed, actions)| Schedule { seed, actions })
}
