//! Ports: which are free, and who holds one that is not.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{LazyLock, Mutex, PoisonError};

use procfs::net::TcpState;
use procfs::process::FDTarget;

/// Below Linux's range for outgoing connections, so that a port which is free
/// now is not taken by one before its service has started.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Ports that this process has given out.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A process that listens on a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortHolder {
    /// Its process id.
    pub pid: i32,
    /// Its name.
    pub name: String,
}

impl fmt::Display for PortHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {} ({})", self.pid, self.name)
    }
}

/// Whether a server could listen on `addr` now.
pub fn is_free(addr: SocketAddr) -> bool {
    try_listen(addr).is_ok()
}

/// Listens on `addr` for a moment.
pub fn try_listen(addr: SocketAddr) -> io::Result<()> {
    TcpListener::bind(addr).map(drop)
}

/// A loopback address that nobody listens on, given out once only.
pub fn free_loopback() -> SocketAddr {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = rand::random_range(RANGE);
        let addr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        if !given.contains(&port) && is_free(addr) {
            given.insert(port);
            return addr;
        }
    }
}

/// The process that listens on `addr`, if we may see it: other users'
/// processes show their open files to root only.
pub fn holder(addr: SocketAddr) -> Option<PortHolder> {
    let tables = [procfs::net::tcp(), procfs::net::tcp6()];
    let sockets: HashSet<u64> = tables
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.state == TcpState::Listen)
        .filter(|entry| entry.local_address.port() == addr.port())
        .filter(|entry| overlaps(entry.local_address.ip(), addr.ip()))
        .map(|entry| entry.inode)
        .collect();
    procfs::process::all_processes()
        .ok()?
        .flatten()
        .find_map(|process| {
            let holds =
                process.fd().ok()?.flatten().any(
                    |fd| matches!(fd.target, FDTarget::Socket(inode) if sockets.contains(&inode)),
                );
            holds.then(|| PortHolder {
                pid: process.pid,
                name: process.stat().map(|stat| stat.comm).unwrap_or_default(),
            })
        })
}

fn overlaps(one: IpAddr, other: IpAddr) -> bool {
    one == other || one.is_unspecified() || other.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_has_a_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        assert!(!is_free(addr));
        let holder = holder(addr).unwrap();
        assert_eq!(holder.pid, i32::try_from(std::process::id()).unwrap());
    }

    #[test]
    fn a_free_port_has_no_holder() {
        assert_eq!(holder(free_loopback()), None);
    }

    #[test]
    fn no_port_is_given_out_twice() {
        let ports: HashSet<_> = (0..200).map(|_| free_loopback()).collect();
        assert_eq!(ports.len(), 200);
    }
}
