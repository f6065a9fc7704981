//! What the end-to-end suites share: a whole Pointsman on free ports in a
//! temporary folder, and ways to change and to ask each part of it.

#![allow(dead_code, reason = "each suite uses a part of it")]
#![allow(clippy::print_stderr, reason = "a failed test shows its logs")]

pub mod etcd;
pub mod load;
pub mod registry;
pub mod upstreams;
pub mod workers;
pub mod world;

use std::path::{Path, PathBuf};
use std::time::Duration;

use pointsman_dev::process::Launcher;

/// Nothing in these tests takes longer, unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The binary under test: the one that was built with the tests, or another
/// one, such as a release, that `POINTSMAN_BIN` names.
pub fn pointsman() -> PathBuf {
    std::env::var_os("POINTSMAN_BIN").map_or_else(
        || PathBuf::from(env!("CARGO_BIN_EXE_pointsman")),
        PathBuf::from,
    )
}

/// Starts children through that binary.
pub fn launcher() -> Launcher {
    Launcher::new(pointsman())
}

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}
