//! What the suites of faults share: syncs of their own over the real store and
//! the real sink.

#![allow(dead_code, reason = "each suite uses a part of it")]

pub mod agent;

use std::time::Duration;

/// Nothing in these tests takes longer, unless it hangs: the longest wait is
/// for a half-dead connection, about 15 seconds.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` answers `Ok`; what it saw last is told if it never does.
pub async fn until<T>(what: &str, probe: impl AsyncFnMut() -> Result<T, String>) -> T {
    match pointsman_harness::wait::until(what, PATIENCE, probe).await {
        Ok(found) => found,
        Err(error) => panic!("{error}"),
    }
}
