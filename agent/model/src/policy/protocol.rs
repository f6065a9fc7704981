//! What instances speak.

use serde_json::Value;

use super::kinds::PolicyField;
use crate::fields::string;
use crate::values::{bad_value, word, word_of};
use crate::{Bad, BadCode, Host, quoted};

const SCHEMES: &[(&str, Scheme)] = &[
    ("http", Scheme::Http),
    ("https", Scheme::Https),
    ("grpc", Scheme::Grpc),
];

/// What the edge cannot speak to instances, and why.
const NOT_SUPPORTED: &[(&str, &str)] = &[
    (
        "h2c",
        "nginx speaks HTTP/1.1 to instances; for gRPC: \"grpc\"",
    ),
    (
        "h2",
        "nginx speaks HTTP/1.1 to instances, over TLS: \"https\"",
    ),
    ("grpcs", "gRPC goes over plain connections only: \"grpc\""),
    ("fastcgi", "instances speak HTTP or gRPC"),
    ("uwsgi", "instances speak HTTP or gRPC"),
];

/// What instances speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS; certificates are verified.
    Https,
    /// gRPC: HTTP/2 without TLS.
    Grpc,
}

impl PolicyField for Scheme {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        let text = string(name, value)?;
        if let Some((_, why)) = NOT_SUPPORTED.iter().find(|(word, _)| *word == text) {
            let detail = format!("\"{name}\": {} is not supported: {why}", quoted(&text));
            return Err(Bad::new(BadCode::NotSupported, detail).field(name));
        }
        word(name, &text, SCHEMES)
    }

    fn value(&self) -> Value {
        word_of(self, SCHEMES).into()
    }
}

/// The name that is asked for by SNI, and that the certificate must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerName(Host);

impl ServerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PolicyField for ServerName {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        let text = string(name, value)?;
        let host = Host::from_user(&text).ok();
        host.filter(|host| host.is_name()).map(Self).ok_or_else(|| {
            let detail = format!(
                "\"{name}\" must be a host name, no IP address and no wildcard, not {}",
                quoted(&text)
            );
            bad_value(name, detail)
        })
    }

    fn value(&self) -> Value {
        self.as_str().into()
    }
}
