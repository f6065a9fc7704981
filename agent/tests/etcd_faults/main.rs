//! The agent's store, watch and sync against a real etcd that misbehaves: the
//! defaults of the etcd client that bite, one by one.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../faults_support/mod.rs"]
mod faults;

mod access;
mod bench;
mod cut_off;
mod leases;
mod members;
mod names;
mod sizes;
