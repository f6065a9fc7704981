//! The agent of Pointsman: it follows etcd, keeps Redis equal to what etcd's
//! content derives to, and serves the admin API.
//!
//! Data flows one way: [`store`] (etcd) → [`watch`] → [`table`] → [`sync`] →
//! [`sink`] (Redis). The [`api`] writes to the store and reads the table; so
//! does the [`probe`], which tells healthy instances from others.

pub mod api;
pub mod cli;
pub mod config;
pub mod connect;
pub mod dev;
pub mod group;
pub mod listen;
pub mod metrics;
pub mod model;
pub mod operator;
pub mod pauses;
pub mod probe;
pub mod readiness;
pub mod register;
pub mod serve;
pub mod shutdown;
pub mod sink;
pub mod store;
pub mod sync;
pub mod table;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod watch;
