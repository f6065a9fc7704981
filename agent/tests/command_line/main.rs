//! The commands for an agent, as a user types them, against a real stack.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

#[path = "../support/mod.rs"]
mod support;

mod applying;
mod changing;
mod docs;
mod shell;
