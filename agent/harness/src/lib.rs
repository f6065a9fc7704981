//! What tests, benchmarks and chaos runs share: the services and where they
//! live, a relay, a load, the registry's keys, and the records they lead to.
//!
//! A harness that meets an error has failed its caller: most of it panics, and
//! says what it met.

#![allow(clippy::unwrap_used, reason = "a harness that meets an error panics")]

pub mod certificates;
pub mod etcd;
pub mod load;
pub mod nginx;
pub mod records;
pub mod redis_node;
pub mod registry;
pub mod relay;
pub mod sandbox;
pub mod upstreams;
pub mod workers;

use std::path::{Path, PathBuf};

pub use pointsman_dev::process::{Launcher, Process, Spec};
pub use pointsman_dev::{DevError, Source, Stack, http, ports, programs, services, wait};

/// The `pointsman` binary: the one that `POINTSMAN_BIN` names, such as a
/// release, or the one that was built beside this program.
pub fn pointsman() -> PathBuf {
    match std::env::var_os("POINTSMAN_BIN") {
        Some(named) => named.into(),
        None => built("pointsman"),
    }
}

/// The `pointsman-dev` binary that was built beside this program.
pub fn pointsman_dev() -> PathBuf {
    built("pointsman-dev")
}

fn built(name: &str) -> PathBuf {
    let here = std::env::current_exe().unwrap();
    // Cargo puts test programs into a folder of their own, `deps`.
    let beside = here.ancestors().skip(1).take(2);
    let mut found = beside.map(|dir| dir.join(name));
    let found = found.find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "there is no {name} beside {}: build it first (cargo build -p {name})",
            here.display()
        )
    })
}

/// Starts children through that binary.
pub fn launcher() -> Launcher {
    Launcher::new(pointsman())
}

/// The repository's nginx and Lua files.
pub fn source() -> Source {
    Source::around(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap()
}
