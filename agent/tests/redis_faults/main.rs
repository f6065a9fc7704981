//! The agent's sink and sync against a real Redis that misbehaves.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../faults_support/mod.rs"]
mod faults;

mod access;
mod bench;
mod replicas;
mod slow;
mod unfit;
