//! End-to-end tests: real etcd, Redis, nginx and agents, on free ports.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../support/mod.rs"]
mod support;

mod agents;
mod bad_input;
mod dev;
mod etcd;
mod events;
mod explain;
mod idle;
mod main_job;
mod nginx;
mod openapi;
mod pauses;
mod protocols;
mod redis_lost;
mod register;
mod routing;
