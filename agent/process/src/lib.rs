//! Child processes that do not outlive their parent.

mod guard;

pub use guard::{GuardArgs, follow_parent, run as run_guard};
