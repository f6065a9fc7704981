//! Addresses of instances.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::{Bad, BadCode, quoted};

/// Where an instance listens: `IPv4:port` or `[IPv6]:port`, in canonical form.
///
/// Host names and `unix:` paths are refused: nginx's balancer would resolve
/// or open them on the edge, where they mean something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(SocketAddr);

impl Address {
    /// Reads an address; IPv6 is brought to its canonical form.
    pub fn new(text: &str) -> Result<Self, Bad> {
        let bad = |why: &str| {
            Bad::new(
                BadCode::BadAddr,
                format!("{} is not an instance's address: {why}", quoted(text)),
            )
        };
        let addr: SocketAddr = text.parse().map_err(|_| {
            bad(
                "it must be IPv4:port or [IPv6]:port, with a port from 1 to 65535 \
                 (no host name, no unix: path)",
            )
        })?;
        if matches!(addr, SocketAddr::V6(v6) if v6.scope_id() != 0) {
            return Err(bad("a zone (%…) means something on one host only"));
        }
        // One host has one name: an IPv4-mapped address is the IPv4 address.
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if addr.port() == 0 {
            return Err(bad("port 0 cannot be connected to"));
        }
        if addr.ip().is_unspecified() || addr.ip().is_multicast() {
            return Err(bad("this IP address is not that of one host"));
        }
        if addr.ip() == IpAddr::from([255, 255, 255, 255]) {
            return Err(bad("this IP address is the broadcast address"));
        }
        Ok(Self(addr))
    }

    /// The socket address.
    pub fn socket(&self) -> SocketAddr {
        self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
