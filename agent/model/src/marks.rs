//! What is said about an instance by others than itself: an operator's
//! override, and what probes found.

use serde_json::json;

use super::Bad;
use super::fields::Fields;
use super::values::{bad_value, boolean, word, word_of};

/// A longer reason could not be read by anybody.
const LONGEST_REASON: usize = 1024;

/// The value of a key `overrides/<app>/<id>`. It holds for the registration
/// that was there when it was written, and no later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Override {
    /// Whether the instance gets no new requests.
    pub draining: bool,
}

impl Override {
    /// Reads a value.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields::parse("an override", raw)?;
        let draining = boolean("draining", fields.require("draining")?)?;
        fields.finish("draining")?;
        Ok(Self { draining })
    }

    /// The value to write.
    pub fn to_value(self) -> String {
        json!({ "draining": self.draining }).to_string()
    }
}

/// The value of a key `health/<app>/<id>`. Like an override, it holds for the
/// registration that was there when it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether the instance is healthy.
    pub up: bool,
    /// Whether no probe of it was good yet; then it is not up.
    pub pending: bool,
    /// In what way not: all that tenants are told. Older agents wrote none.
    pub class: Option<FaultClass>,
    /// Why not.
    pub reason: Option<Box<str>>,
}

/// In what way an instance does not answer as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultClass {
    /// There is no connection to it.
    Refused,
    /// Not done in time.
    Timeout,
    /// TLS failed, or the certificate is not to be trusted.
    Tls,
    /// A status that is not expected, of HTTP or gRPC.
    Status,
    /// The body lacks what is expected.
    Body,
    /// No HTTP or gRPC, or it broke off.
    Broken,
}

const CLASSES: &[(&str, FaultClass)] = &[
    ("refused", FaultClass::Refused),
    ("timeout", FaultClass::Timeout),
    ("tls", FaultClass::Tls),
    ("status", FaultClass::Status),
    ("body", FaultClass::Body),
    ("broken", FaultClass::Broken),
];

impl FaultClass {
    /// The word, as in etcd and in the API.
    pub fn as_str(self) -> &'static str {
        word_of(&self, CLASSES)
    }
}

impl Health {
    /// Reads a value.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields::parse("an instance's health", raw)?;
        let up = boolean("up", fields.require("up")?)?;
        let pending = fields.take("pending").map(|v| boolean("pending", v));
        let pending = pending.transpose()?.unwrap_or(false);
        let class = fields.take_string("class")?;
        let class = class
            .map(|text| word("class", &text, CLASSES))
            .transpose()?;
        let reason = fields.take_string("reason")?;
        fields.finish("up, pending, class, reason")?;
        if up && pending {
            let detail = "\"pending\" and \"up\" exclude each other";
            return Err(bad_value("pending", detail));
        }
        if reason
            .as_ref()
            .is_some_and(|text| text.len() > LONGEST_REASON)
        {
            let detail = format!("\"reason\" must be text of up to {LONGEST_REASON} bytes");
            return Err(bad_value("reason", detail));
        }
        let reason = reason.map(Into::into);
        Ok(Self {
            up,
            pending,
            class,
            reason,
        })
    }

    /// The value to write.
    pub fn to_value(&self) -> String {
        let mut value = json!({ "up": self.up });
        if self.pending {
            value["pending"] = json!(true);
        }
        if let Some(class) = self.class {
            value["class"] = json!(class.as_str());
        }
        if let Some(reason) = &self.reason {
            value["reason"] = json!(reason);
        }
        value.to_string()
    }
}

/// What of it holds for an instance: what its record says of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// It gets no new requests.
    pub draining: bool,
    /// Probes found that it does not answer as it should.
    pub down: bool,
}
