//! Networks that instances may be in, and addresses that no instance has unless
//! the settings name their network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that reach something else than an instance: the edge itself,
/// its neighbours on the link, or a cloud's metadata service.
const SPECIAL_V4: &[(&str, [u8; 4], u8)] = &[
    ("an unspecified address", [0, 0, 0, 0], 8),
    ("a loopback address", [127, 0, 0, 0], 8),
    ("a link-local address", [169, 254, 0, 0], 16),
    ("a metadata service", [100, 100, 100, 200], 32),
    ("a metadata service", [168, 63, 129, 16], 32),
    ("a metadata service", [192, 0, 0, 192], 32),
    ("a multicast address", [224, 0, 0, 0], 4),
    ("the broadcast address", [255, 255, 255, 255], 32),
];

/// The same of IPv6.
const SPECIAL_V6: &[(&str, Ipv6Addr, u8)] = &[
    ("an unspecified address", Ipv6Addr::UNSPECIFIED, 128),
    ("a loopback address", Ipv6Addr::LOCALHOST, 128),
    (
        "a link-local address",
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    ),
    (
        "a metadata service",
        Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
        128,
    ),
    (
        "a metadata service",
        Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
        128,
    ),
    (
        "a multicast address",
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
    ),
];

/// IPv6 prefixes behind which an IPv4 address stands, and their lengths: NAT64,
/// 6to4, and IPv4-compatible addresses.
const EMBEDDING: [(Ipv6Addr, u8); 3] = [
    (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::UNSPECIFIED, 96),
];

/// The special network that an address is in, and what it is.
pub(crate) fn special(ip: IpAddr) -> Option<(&'static str, IpNet)> {
    match ip {
        IpAddr::V4(v4) => special_v4(v4).map(|(what, net)| (what, IpNet::V4(net))),
        IpAddr::V6(v6) => special_v6(v6).map(|(what, net)| (what, IpNet::V6(net))),
    }
}

fn special_v4(ip: Ipv4Addr) -> Option<(&'static str, Ipv4Net)> {
    let nets = SPECIAL_V4.iter().filter_map(|(what, net, length)| {
        let net = Ipv4Net::new(Ipv4Addr::from(*net), *length).ok()?;
        Some((*what, net))
    });
    // A metadata service is the more specific one.
    nets.filter(|(_, net)| net.contains(&ip))
        .max_by_key(|(_, net)| net.prefix_len())
}

fn special_v6(ip: Ipv6Addr) -> Option<(&'static str, Ipv6Net)> {
    let mut nets = SPECIAL_V6.iter().filter_map(|(what, net, length)| {
        let net = Ipv6Net::new(*net, *length).ok()?;
        Some((*what, net))
    });
    let own = nets.find(|(_, net)| net.contains(&ip));
    own.or_else(|| {
        EMBEDDING
            .into_iter()
            .find_map(|(prefix, length)| embedded(ip, prefix, length))
    })
}

/// The special network whose IPv4 addresses stand behind this prefix.
fn embedded(ip: Ipv6Addr, prefix: Ipv6Addr, length: u8) -> Option<(&'static str, Ipv6Net)> {
    let around = Ipv6Net::new(prefix, length).ok()?;
    if !around.contains(&ip) {
        return None;
    }
    let shift = 96 - u32::from(length);
    let v4 = u32::try_from((ip.to_bits() >> shift) & u128::from(u32::MAX)).ok()?;
    let (what, net) = special_v4(Ipv4Addr::from(v4))?;
    let bits = prefix.to_bits() | (u128::from(net.network().to_bits()) << shift);
    let net = Ipv6Net::new(Ipv6Addr::from(bits), length + net.prefix_len()).ok()?;
    Some((what, net))
}

/// Whether one of `networks` names a part of `special` that holds `ip`; without
/// a special network, whether one holds `ip` at all.
pub(crate) fn names(networks: &[IpNet], ip: IpAddr, special: Option<IpNet>) -> bool {
    networks.iter().any(|network| {
        let explicit = special.is_none_or(|special| special.contains(network));
        explicit && network.contains(&ip)
    })
}

/// Addresses of instances are IPv4 where they can be; so are the networks that
/// allow them.
pub(crate) fn canonical(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6
            .addr()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96)),
        IpNet::V4(_) => None,
    };
    let v4 = mapped.and_then(|(ip, length)| Ipv4Net::new(ip, length).ok());
    v4.map_or(network, IpNet::V4).trunc()
}
