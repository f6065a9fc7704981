//! callgrind around an nginx.
//!
//! It writes what it has counted, and begins again at 0, whenever nginx calls
//! `ngx_reopen_files`, which it does on SIGUSR1. So a window is delimited from
//! outside, and start and warm-up do not count.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use pointsman_dev::process::{Process, Spec};
use pointsman_dev::{programs, wait};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::profile::Profile;

const PATIENCE: Duration = Duration::from_secs(60);
/// After so long, nginx may not have seen the signal.
const UNSEEN: Duration = Duration::from_millis(500);
/// glibc picks its string functions by what the CPU can do: here the same ones
/// on every machine.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX,-AVX2,-AVX512F,-AVX512VL,-AVX512BW,-EVEX,-ERMS,\
                        -FSRM,-BMI2,-LZCNT,-MOVBE,-RTM,-SSE4_1,-SSE4_2,-SSSE3,\
                        -AVX_Fast_Unaligned_Load,-Fast_Unaligned_Copy";

/// Half of a usual first-level cache: the kernel, which callgrind does not see,
/// runs between any two of nginx's system calls, and has the rest. The last one
/// has no part in what is shown.
const CACHES: [&str; 4] = [
    "--cache-sim=yes",
    "--I1=16384,4,64",
    "--D1=16384,4,64",
    "--LL=524288,8,64",
];

/// Where it writes, and how many files there are.
pub struct Callgrind {
    out: PathBuf,
    simulates_cache: bool,
    taken: usize,
}

impl Callgrind {
    /// With its files in `dir`; it may count misses of the caches, too.
    pub fn new(dir: &Path, simulates_cache: bool) -> Self {
        Self {
            out: dir.join("callgrind.out"),
            simulates_cache,
            taken: 0,
        }
    }

    /// Puts callgrind in front of a program.
    pub fn wrap(&self, mut spec: Spec) -> Result<Spec> {
        let hint = "`make deps` installs it on Debian";
        let mut args = vec![
            "--tool=callgrind".into(),
            "--dump-before=ngx_reopen_files".into(),
            format!("--callgrind-out-file={}", self.out.display()).into(),
        ];
        if self.simulates_cache {
            args.extend(CACHES.map(Into::into));
        }
        args.push(spec.program.into());
        args.append(&mut spec.args);
        spec.program = programs::find("valgrind", hint)?;
        spec.args = args;
        Ok(spec.env("GLIBC_TUNABLES", TUNABLES))
    }

    /// The instructions since the last call.
    pub async fn take(&mut self, nginx: &mut Process, edge: SocketAddr) -> Result<Profile> {
        self.taken += 1;
        let mut path = self.out.clone().into_os_string();
        path.push(format!(".{}", self.taken));
        nginx.signal(Signal::SIGUSR1);
        let begin = Instant::now();
        let profile = wait::until("callgrind has written its count", PATIENCE, async || {
            if let Ok(text) = tokio::fs::read_to_string(&path).await {
                return Profile::parse(&text).ok_or_else(|| "a file without an end".to_owned());
            }
            // A signal that comes just before nginx waits for events is seen
            // after the next one.
            if begin.elapsed() > UNSEEN {
                let _poked = TcpStream::connect(edge).await;
            }
            Err("no file".to_owned())
        });
        profile.await.context("callgrind gave no count")
    }
}
