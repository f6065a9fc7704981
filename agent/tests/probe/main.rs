//! Health checks end to end: real etcd, Redis and agents, and instances that
//! can be made to fail.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]
#![allow(clippy::print_stderr, reason = "a failed test shows its logs")]

mod instance;
mod pending;
mod scale;
mod transitions;
mod world;
