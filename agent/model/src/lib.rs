//! The contract's values, pure: what may stand in etcd and what it becomes in
//! Redis. Nothing here does I/O, so two agents can never disagree about it.

use std::fmt;

mod actor;
mod address;
mod chain;
mod coordination;
mod fields;
mod hash_by;
mod host;
mod host_port;
mod instance;
mod key;
mod kind;
mod marks;
mod name;
mod network;
#[cfg(test)]
mod parsers;
mod path;
mod pause;
mod policy;
mod record;
mod route;
mod set;
mod settings;
mod values;

pub use actor::Actor;
pub use address::Address;
pub use chain::Chain;
pub use coordination::{Adoption, Confirmation};
pub use fields::json_object;
pub use hash_by::HashBy;
pub use host::Host;
pub use host_port::HostPort;
pub use instance::{DEFAULT_WEIGHT, Instance};
pub use kind::{Declaration, Key, Kind};
pub use marks::{FaultClass, Health, Marks, Override};
pub use name::{AppName, EdgeName, InstanceId, SetName};
pub use path::Path;
pub use pause::Pause;
pub use policy::{
    Balance, Ceilings, CheckKind, CheckStatus, FailOn, Failure, HealthCheck, InitialState, Policy,
    SameSite, Scheme, ServerName, Sticky, WakeUp,
};
pub use record::{Change, Element, changes_json};
pub use route::{
    HeaderEdits, Headers, Maintenance, Redirect, Rewrite, Route, Rule, RuleAction, RuleTarget,
    Subject, Test, To, When,
};
pub use set::ObjectSet;
pub use settings::Settings;
pub use values::shown;

/// An etcd revision: the one version number of the whole system.
pub type Revision = i64;

/// How much of a user's text an error repeats, in characters.
const LONGEST_QUOTE: usize = 80;

/// Why a value or a name is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Bad {
    /// The stable word for programs.
    pub code: BadCode,
    /// The field of the value that it is about, if it is about one.
    pub field: Option<Box<str>>,
    /// The sentence for people: what is wrong, where, and what would be right.
    pub detail: String,
}

impl Bad {
    /// A refusal with its sentence.
    pub fn new(code: BadCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            field: None,
            detail: detail.into(),
        }
    }

    /// Names the field that it is about; like all that is quoted, it is cut.
    pub(crate) fn field(mut self, name: &str) -> Self {
        self.field = Some(name.chars().take(LONGEST_QUOTE).collect());
        self
    }

    /// Says in what the field lies: `weight` becomes `to[0].weight`.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        self.field = Some(match self.field {
            None => outer.into(),
            Some(inner) if inner.starts_with('[') => format!("{outer}{inner}").into(),
            Some(inner) => format!("{outer}.{inner}").into(),
        });
        self
    }

    /// Says so in the sentence, too, for those who are shown nothing else.
    pub(crate) fn located(mut self) -> Self {
        let field = self.field.as_deref().unwrap_or_default();
        let place = match field.rsplit_once('.') {
            Some((outer, _)) => outer,
            None if field.ends_with(']') => field,
            None => return self,
        };
        self.detail = format!("in {place}: {}", self.detail);
        self
    }
}

/// The stable words of [`Bad`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BadCode {
    /// Not JSON, or not a JSON object.
    BadJson,
    /// A field that this version does not know.
    UnknownField,
    /// A field that must be there is not.
    MissingField,
    /// A field of a wrong type or out of range.
    BadValue,
    /// An address that is not `IPv4:port` or `[IPv6]:port`.
    BadAddr,
    /// A weight that is not a number from 0 to 65535.
    BadWeight,
    /// A host that is not a host name, IP literal or wildcard.
    BadHost,
    /// An app name outside `[a-z0-9._-]{1,128}`.
    BadApp,
    /// An instance id outside `[A-Za-z0-9._:-]{1,256}`.
    BadId,
    /// The name of an edge outside `[A-Za-z0-9._-]{1,128}`.
    BadEdge,
    /// The name of a set outside `[A-Za-z0-9._-]{1,128}`.
    BadSet,
    /// An address outside the networks that the settings allow.
    NotAllowed,
    /// What the edge's nginx cannot do, or what is not built yet.
    NotSupported,
    /// A key under our prefix that is not part of the contract.
    UnknownKey,
}

impl BadCode {
    /// All codes, for the documentation's test.
    pub const ALL: [BadCode; 14] = [
        BadCode::BadJson,
        BadCode::UnknownField,
        BadCode::MissingField,
        BadCode::BadValue,
        BadCode::BadAddr,
        BadCode::BadWeight,
        BadCode::BadHost,
        BadCode::BadApp,
        BadCode::BadId,
        BadCode::BadEdge,
        BadCode::BadSet,
        BadCode::NotAllowed,
        BadCode::NotSupported,
        BadCode::UnknownKey,
    ];

    /// The code as it stands in answers and in `/v1/status`.
    pub fn as_str(self) -> &'static str {
        match self {
            BadCode::BadJson => "bad_json",
            BadCode::UnknownField => "unknown_field",
            BadCode::MissingField => "missing_field",
            BadCode::BadValue => "bad_value",
            BadCode::BadAddr => "bad_addr",
            BadCode::BadWeight => "bad_weight",
            BadCode::BadHost => "bad_host",
            BadCode::BadApp => "bad_app",
            BadCode::BadId => "bad_id",
            BadCode::BadEdge => "bad_edge",
            BadCode::BadSet => "bad_set",
            BadCode::NotAllowed => "not_allowed",
            BadCode::NotSupported => "not_supported",
            BadCode::UnknownKey => "unknown_key",
        }
    }
}

impl fmt::Display for BadCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `text` for an error message: quoted, escaped, and cut after 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    if text.chars().count() <= LONGEST_QUOTE {
        return format!("{text:?}");
    }
    let head: String = text.chars().take(LONGEST_QUOTE).collect();
    format!("{head:?}…")
}
