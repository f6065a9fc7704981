//! Events: the last changes of the registry, and who made each.
//!
//! They are a pure function of etcd's history, but for the time of a change that
//! does not say when it was made. A follower ([`EventFollower`]) reads them from
//! a watch of its own, which begins in the past: so an agent has them again
//! after a restart, and neither its table nor its readiness waits for that.

mod follow;
mod log;
#[cfg(test)]
mod tests;

pub use follow::{EventFollower, Events};
pub use log::{EventPage, KEPT, LoggedEvent, LoggedOp};
