//! The agent of Pointsman: it follows etcd, keeps Redis equal to what etcd's
//! content derives to, and serves the admin API.
//!
//! This crate puts the others together: the command line, the configuration,
//! logs, and the tasks that run side by side.

pub mod cli;
pub mod config;
pub mod connect;
mod metrics;
pub mod serve;
pub mod shutdown;
pub mod telemetry;
