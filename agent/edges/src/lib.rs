//! What edges report: how far each one is, and what is in flight on instances
//! that drain. Two questions are answered from that: whether a change is live
//! everywhere, and whether an instance can be stopped.
//!
//! An edge writes its report to Redis and announces it ([`source`]). The key
//! `edges/<name>` in etcd keeps the name of each edge that was ever heard from:
//! one that has fallen silent may still be serving, so it counts until it is
//! back, has said goodbye, or an operator removes it.

pub mod ask;
mod fleet;
mod follow;
mod report;
pub mod source;
#[cfg(test)]
mod tests;

pub use fleet::{EdgeState, EdgeView, Holdup, Lacking};
pub use follow::{EdgeFollower, Edges};
pub use report::{BadReport, Report};
