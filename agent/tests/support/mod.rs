//! What the end-to-end suites share: a whole Pointsman on free ports in a
//! temporary folder, and ways to change and to ask each part of it.

#![allow(dead_code, reason = "each suite uses a part of it")]
#![allow(clippy::print_stderr, reason = "a failed test shows its logs")]

pub mod world;

use std::time::Duration;

/// Nothing in these tests takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);
