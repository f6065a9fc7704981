//! What shapes records for the whole registry, so that all agents derive the
//! same.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::fields::Fields;
use super::network::{canonical, names, special};
use super::values::array;
use super::{Address, Bad, BadCode, Ceilings, Policy, quoted};

const FIELDS: &str = "allowed_networks, allowed_ports, ceilings, defaults";
const MOST_PORT_RANGES: usize = 64;

/// The value of the key `settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where instances may be; `None`: anywhere but at special addresses.
    pub allowed_networks: Option<Vec<IpNet>>,
    /// At which ports instances may be, from and to; `None`: at any.
    pub allowed_ports: Option<Vec<(u16, u16)>>,
    /// What no app's policy may exceed; never an empty one.
    pub ceilings: Option<Box<Ceilings>>,
    /// What lies beneath each app's policy; never an empty one.
    pub defaults: Option<Box<Policy>>,
}

impl Settings {
    /// Reads a value in etcd. Host bits of a network are dropped, as they were
    /// when older agents took them.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        read(raw, false).map_err(Bad::located)
    }

    /// Reads what a user sends: also refuses networks with host bits, and
    /// defaults beyond the ceilings.
    pub fn from_user(raw: &[u8]) -> Result<Self, Bad> {
        let settings = read(raw, true).map_err(Bad::located)?;
        if let (Some(ceilings), Some(defaults)) = (&settings.ceilings, &settings.defaults) {
            ceilings
                .check(defaults)
                .map_err(|bad| bad.within("defaults"))?;
        }
        Ok(settings)
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        let mut value = json!({});
        if let Some(networks) = &self.allowed_networks {
            value["allowed_networks"] = networks.iter().map(ToString::to_string).collect();
        }
        if let Some(ports) = &self.allowed_ports {
            let range = |(from, to): &(u16, u16)| match from == to {
                true => from.to_string(),
                false => format!("{from}-{to}"),
            };
            value["allowed_ports"] = ports.iter().map(range).collect();
        }
        if let Some(ceilings) = &self.ceilings {
            value["ceilings"] = ceilings.to_json();
        }
        if let Some(defaults) = &self.defaults {
            value["defaults"] = defaults.to_json();
        }
        value.to_string()
    }

    /// Whether an instance may be at an address.
    pub fn allows(&self, address: Address) -> bool {
        let socket = address.socket();
        self.allows_ip(socket.ip()) && self.allows_port(socket.port())
    }

    fn allows_ip(&self, ip: IpAddr) -> bool {
        let special = special(ip).map(|(_, network)| network);
        match &self.allowed_networks {
            None => special.is_none(),
            Some(networks) => names(networks, ip, special),
        }
    }

    fn allows_port(&self, port: u16) -> bool {
        let allowed = self.allowed_ports.as_ref();
        allowed.is_none_or(|ports| ports.iter().any(|(from, to)| (*from..=*to).contains(&port)))
    }

    /// Refuses an address where no instance may be.
    pub fn check(&self, address: Address) -> Result<(), Bad> {
        let ip = address.socket().ip();
        let detail = if !self.allows_ip(ip) {
            match special(ip) {
                None => format!("{address} is in none of the networks that the settings allow"),
                Some((what, network)) => format!(
                    "{address} is {what}: no instance may be there unless \"allowed_networks\" of \
                     the settings names {network}, or a part of it"
                ),
            }
        } else if !self.allows_port(address.socket().port()) {
            format!("the port of {address} is none of those that the settings allow")
        } else {
            return Ok(());
        };
        Err(Bad::new(BadCode::NotAllowed, detail).field("addr"))
    }

    /// An app's policy as it holds: over the defaults, beneath the ceilings.
    pub fn effective(&self, policy: &Policy) -> Policy {
        let mut effective = match &self.defaults {
            None => policy.clone(),
            Some(defaults) => policy.over(defaults),
        };
        if let Some(ceilings) = &self.ceilings {
            ceilings.clamp(&mut effective);
        }
        effective
    }
}

fn read(raw: &[u8], strict: bool) -> Result<Settings, Bad> {
    let mut fields = Fields::parse("the settings", raw)?;
    let allowed_networks = fields.take("allowed_networks");
    let allowed_networks = allowed_networks.map(|value| networks(value, strict));
    let allowed_ports = fields.take("allowed_ports").map(ports).transpose()?;
    let ceilings = fields.take_nested("ceilings", Ceilings::from_json)?;
    let defaults = fields.take_nested("defaults", Policy::from_json)?;
    fields.finish(FIELDS)?;
    let ceilings = ceilings.filter(|ceilings| *ceilings != Ceilings::default());
    let defaults = defaults.filter(|policy| *policy != Policy::default());
    Ok(Settings {
        allowed_networks: allowed_networks.transpose()?,
        allowed_ports,
        ceilings: ceilings.map(Box::new),
        defaults: defaults.map(Box::new),
    })
}

fn networks(value: Value, strict: bool) -> Result<Vec<IpNet>, Bad> {
    let bad = |what: &str| {
        let detail = format!(
            "\"allowed_networks\" must be an array of networks like \"10.0.0.0/8\", {what}"
        );
        Bad::new(BadCode::BadValue, detail).field("allowed_networks")
    };
    let Value::Array(items) = value else {
        return Err(bad("and it is no array"));
    };
    if items.is_empty() {
        return Err(bad("and not empty, which would allow no instance at all"));
    }
    items
        .iter()
        .map(|item| {
            let network = item.as_str().and_then(|text| text.parse::<IpNet>().ok());
            match network {
                None => Err(bad(&format!("not {}", quoted(&item.to_string())))),
                Some(network) if strict && network != network.trunc() => Err(bad(&format!(
                    "and \"{network}\" has bits behind its prefix: did you mean \"{}\"?",
                    network.trunc()
                ))),
                Some(network) => Ok(canonical(network)),
            }
        })
        .collect()
}

fn ports(value: Value) -> Result<Vec<(u16, u16)>, Bad> {
    let items = array("allowed_ports", value, 1, MOST_PORT_RANGES)?;
    let range = |item: &Value| {
        let (from, to) = item.as_str().map(|t| t.split_once('-').unwrap_or((t, t)))?;
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (from, to) = (port(from)?, port(to)?);
        (from <= to).then_some((from, to))
    };
    let read = items.iter().map(|item| {
        range(item).ok_or_else(|| {
            let detail = format!(
                "\"allowed_ports\" must be an array of ports and ranges like \"1024-65535\", \
                 not {}",
                quoted(&item.to_string())
            );
            Bad::new(BadCode::BadValue, detail).field("allowed_ports")
        })
    });
    read.collect()
}

#[cfg(test)]
mod tests;
