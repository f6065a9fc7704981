//! Deterministic simulation: the agents' real code between an etcd and a Redis
//! that fail in all the ways that a schedule says.
//!
//! The watch state machine, the table, the diff, the batching, the fence, the
//! rebuild and the reconciler are the agent's own; the scripts run as they are
//! in a Lua of ours ([`redis`]); etcd is the agent's store in memory. Time is
//! tokio's paused clock, all that is random is drawn from the schedule's seed,
//! and there is one thread: a schedule always runs the same way.

pub mod check;
pub mod link;
pub mod redis;
pub mod schedule;
pub mod world;

pub use schedule::{Action, Schedule};
pub use world::run;
