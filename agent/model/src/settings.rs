//! What shapes records for the whole registry, so that all agents derive the
//! same.

use ipnet::{IpNet, Ipv4Net};
use serde_json::{Value, json};

use super::fields::Fields;
use super::{Address, Bad, BadCode, Policy, quoted};

const FIELDS: &str = "allowed_networks, defaults";

/// The value of the key `settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Where instances may be; `None`: anywhere.
    pub allowed_networks: Option<Vec<IpNet>>,
    /// What lies beneath each app's policy; never an empty one.
    pub defaults: Option<Box<Policy>>,
}

impl Settings {
    /// Reads a value, as in etcd or in a request to the API.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        read(raw).map_err(Bad::located)
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        let mut value = json!({});
        if let Some(networks) = &self.allowed_networks {
            value["allowed_networks"] = networks.iter().map(ToString::to_string).collect();
        }
        if let Some(defaults) = &self.defaults {
            value["defaults"] = defaults.to_json();
        }
        value.to_string()
    }

    /// Whether an instance may be at an address.
    pub fn allows(&self, address: Address) -> bool {
        let ip = address.socket().ip();
        let allowed = self.allowed_networks.as_ref();
        allowed.is_none_or(|networks| networks.iter().any(|network| network.contains(&ip)))
    }

    /// Refuses an address where no instance may be.
    pub fn check(&self, address: Address) -> Result<(), Bad> {
        if self.allows(address) {
            return Ok(());
        }
        let detail = format!("{address} is in none of the networks that the settings allow");
        Err(Bad::new(BadCode::NotAllowed, detail).field("addr"))
    }
}

fn read(raw: &[u8]) -> Result<Settings, Bad> {
    let mut fields = Fields::parse("the settings", raw)?;
    let allowed_networks = fields.take("allowed_networks").map(networks).transpose()?;
    let defaults = fields.take_nested("defaults", Policy::from_json)?;
    fields.finish(FIELDS)?;
    let defaults = defaults.filter(|policy| *policy != Policy::default());
    Ok(Settings {
        allowed_networks,
        defaults: defaults.map(Box::new),
    })
}

fn networks(value: Value) -> Result<Vec<IpNet>, Bad> {
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
            network
                .map(canonical)
                .ok_or_else(|| bad(&format!("not {}", quoted(&item.to_string()))))
        })
        .collect()
}

/// Addresses of instances are IPv4 where they can be; so are the networks that
/// allow them.
fn canonical(network: IpNet) -> IpNet {
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
