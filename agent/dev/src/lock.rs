//! One `pointsman-dev` for each data folder.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::error::DevError;

/// Holds a folder until it is dropped, or its process ends in any way.
#[derive(Debug)]
pub struct DirLock {
    _file: Flock<File>,
}

impl DirLock {
    /// Takes `dir`, or says who has it.
    pub fn take(dir: &Path) -> Result<Self, DevError> {
        let path = dir.join("lock");
        let what = || format!("lock {}", path.display());
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(DevError::io(what()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| write!(file, "{}", std::process::id()))
                    .map_err(DevError::io(what()))?;
                Ok(Self { _file: file })
            }
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut pid = String::new();
                let read = file.read_to_string(&mut pid).is_ok() && !pid.is_empty();
                Err(DevError::AlreadyRunning {
                    pid: read.then_some(pid),
                    dir: dir.to_owned(),
                })
            }
            Err((_, errno)) => Err(DevError::io(what())(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_taken_once_and_freed() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(dir.path()).unwrap();
        let refused = DirLock::take(dir.path()).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(matches!(refused, DevError::AlreadyRunning { pid: Some(p), .. } if p == pid));
        drop(first);
        DirLock::take(dir.path()).unwrap();
    }
}
