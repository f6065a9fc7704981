//! Child processes that do not outlive their parent.

pub mod group;
mod guard;

pub use guard::{GuardArgs, follow_parent, run as run_guard};
