//! Keys of the registry in etcd, without its prefix.

use std::fmt;

use super::{AppName, Bad, BadCode, Element, Host, InstanceId, quoted};

/// A key of the contract.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `routes/<host>`
    Route(Host),
    /// `apps/<app>`
    App(AppName),
    /// `instances/<app>/<id>`
    Instance(AppName, InstanceId),
    /// `overrides/<app>/<id>`: an operator's word on an instance
    Override(AppName, InstanceId),
    /// `health/<app>/<id>`: what probes of an instance found
    Health(AppName, InstanceId),
    /// `settings`: what shapes records
    Settings,
    /// `epoch`
    Epoch,
    /// `rebuild`
    Rebuild,
    /// `confirm`: an operator allows a listing to remove much
    Confirm,
    /// `adopt`: an operator gives the table in Redis to a new epoch
    Adopt,
    /// `agents/<id>`: who is there
    Agent(Box<str>),
}

impl Key {
    /// Reads a key. What is not in canonical form is refused, not folded.
    pub fn parse(key: &str) -> Result<Self, Bad> {
        match key {
            "epoch" => return Ok(Key::Epoch),
            "rebuild" => return Ok(Key::Rebuild),
            "confirm" => return Ok(Key::Confirm),
            "adopt" => return Ok(Key::Adopt),
            "settings" => return Ok(Key::Settings),
            _ => {}
        }
        let Some((kind, rest)) = key.split_once('/') else {
            return Err(unknown(key));
        };
        match kind {
            "routes" => Ok(Key::Route(Host::from_key(rest)?)),
            "apps" => Ok(Key::App(AppName::new(rest)?)),
            "instances" => instance(key, rest).map(|(app, id)| Key::Instance(app, id)),
            "overrides" => instance(key, rest).map(|(app, id)| Key::Override(app, id)),
            "health" => instance(key, rest).map(|(app, id)| Key::Health(app, id)),
            "agents" => Ok(Key::Agent(rest.into())),
            _ => Err(unknown(key)),
        }
    }
}

impl Key {
    /// The element that this key becomes in Redis, if it becomes one.
    pub fn element(&self) -> Option<Element> {
        match self {
            Key::Route(host) => Some(Element::Route(host.as_str().into())),
            Key::App(app) => Some(Element::App(app.as_str().into())),
            Key::Instance(app, id) => {
                Some(Element::Instance(app.as_str().into(), id.as_str().into()))
            }
            Key::Override(..)
            | Key::Health(..)
            | Key::Settings
            | Key::Epoch
            | Key::Rebuild
            | Key::Confirm
            | Key::Adopt
            | Key::Agent(_) => None,
        }
    }

    /// The element that each change of this key touches, if there is one: its
    /// own, or that of the instance that it is about.
    pub fn touches(&self) -> Option<Element> {
        match self {
            Key::Override(app, id) | Key::Health(app, id) => {
                Some(Element::Instance(app.as_str().into(), id.as_str().into()))
            }
            other => other.element(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Route(host) => write!(f, "routes/{host}"),
            Key::App(app) => write!(f, "apps/{app}"),
            Key::Instance(app, id) => write!(f, "instances/{app}/{id}"),
            Key::Override(app, id) => write!(f, "overrides/{app}/{id}"),
            Key::Health(app, id) => write!(f, "health/{app}/{id}"),
            Key::Settings => f.write_str("settings"),
            Key::Epoch => f.write_str("epoch"),
            Key::Rebuild => f.write_str("rebuild"),
            Key::Confirm => f.write_str("confirm"),
            Key::Adopt => f.write_str("adopt"),
            Key::Agent(id) => write!(f, "agents/{id}"),
        }
    }
}

/// The `<app>/<id>` that is the rest of `key`.
fn instance(key: &str, rest: &str) -> Result<(AppName, InstanceId), Bad> {
    let (app, id) = rest.split_once('/').ok_or_else(|| {
        let kind = key.split('/').next().unwrap_or_default();
        let detail = format!("{} lacks the id: {kind}/<app>/<id>", quoted(key));
        Bad::new(BadCode::BadId, detail)
    })?;
    Ok((AppName::new(app)?, InstanceId::new(id)?))
}

fn unknown(key: &str) -> Bad {
    Bad::new(
        BadCode::UnknownKey,
        format!(
            "{} is not a key of this registry: instances/<app>/<id>, overrides/<app>/<id>, \
             health/<app>/<id>, apps/<app>, routes/<host>",
            quoted(key)
        ),
    )
}
