//! What the suites of faults share: syncs of their own over the real store and
//! the real sink, services with any flags, certificates, and a relay that cuts
//! or holds connections.

#![allow(dead_code, reason = "each suite uses a part of it")]
#![allow(clippy::print_stderr, reason = "a failed test shows its logs")]

pub mod agent;
pub mod certificates;
pub mod program;
pub mod relay;

use std::time::Duration;

/// Nothing in these tests takes longer, unless it hangs: the longest wait is
/// for a half-dead connection, about 15 seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` answers `Ok`; what it saw last is told if it never does.
pub async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    match pointsman_dev::wait::until(what, PATIENCE, probe).await {
        Ok(found) => found,
        Err(error) => panic!("{error}"),
    }
}
