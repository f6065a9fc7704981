//! How many probes may be under way at the same time.

use procfs::process::{LimitValue, Process};

/// With so many, even if all hang for their 2 s, 10,000 instances are probed
/// every 10 s.
const MOST: usize = 2048;
const FEWEST: usize = 16;

/// Half of the files that the process may open (`ulimit -n`): a probe takes
/// one, and the API and the connections to etcd and Redis must have some left.
pub(super) fn probes() -> usize {
    let limits = Process::myself().and_then(|process| process.limits());
    let files = match limits.map(|limits| limits.max_open_files.soft_limit) {
        Ok(LimitValue::Value(files)) => usize::try_from(files).unwrap_or(usize::MAX),
        Ok(LimitValue::Unlimited) => usize::MAX,
        // What a process may have where nobody says otherwise.
        Err(_) => 1024,
    };
    (files / 2).clamp(FEWEST, MOST)
}
