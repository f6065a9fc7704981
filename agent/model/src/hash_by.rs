//! What of a request is hashed: to pick an instance, or a side of a split.

use serde_json::{Value, json};

use super::Bad;
use super::fields::Fields;
use super::values::{header, one_of, set, token};

const FIELDS: &str = "client, header, cookie, uri";

/// What of a request decides where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address.
    Client,
    /// A header.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// Path and query.
    Uri,
}

impl HashBy {
    /// Reads an object of exactly one field; `what` is it, for messages.
    pub(super) fn from_json(what: &'static str, value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value(what, value)?;
        let mut found = Vec::new();
        if let Some(value) = fields.take("client") {
            set("client", value)?;
            found.push(HashBy::Client);
        }
        if let Some(name) = fields.take_string("header")? {
            found.push(HashBy::Header(header("header", &name)?));
        }
        if let Some(name) = fields.take_string("cookie")? {
            found.push(HashBy::Cookie(token("cookie", &name)?));
        }
        if let Some(value) = fields.take("uri") {
            set("uri", value)?;
            found.push(HashBy::Uri);
        }
        fields.finish(FIELDS)?;
        one_of(what, FIELDS, found)
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            HashBy::Client => json!({ "client": true }),
            HashBy::Header(name) => json!({ "header": name }),
            HashBy::Cookie(name) => json!({ "cookie": name }),
            HashBy::Uri => json!({ "uri": true }),
        }
    }
}
