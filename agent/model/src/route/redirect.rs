//! A rule that answers by a redirection.

use serde_json::{Value, json};

use crate::fields::{Fields, kind};
use crate::path::canonical;
use crate::values::{bad_value, shown, word, word_of};
use crate::{Bad, BadCode, HostPort};

const FIELDS: &str = "status, scheme, host, path";
const STATUSES: [u16; 4] = [301, 302, 307, 308];
const DEFAULT_STATUS: u16 = 302;
const SCHEMES: &[(&str, bool)] = &[("http", false), ("https", true)];

/// A redirection. What it does not name stays as the request has it; so does
/// the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301, 302, 307 or 308.
    pub status: u16,
    /// Whether to https.
    pub https: Option<bool>,
    /// To which host.
    pub host: Option<HostPort>,
    /// To which path, as a browser would send it.
    pub path: Option<Box<str>>,
}

impl Redirect {
    pub(super) fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("a redirect", value)?;
        let redirect = Self {
            status: fields
                .take("status")
                .map_or(Ok(DEFAULT_STATUS), |v| status(&v))?,
            https: fields
                .take_string("scheme")?
                .map(|text| word("scheme", &text, SCHEMES))
                .transpose()?,
            host: fields
                .take_string("host")?
                .map(|text| HostPort::from_user("host", &text))
                .transpose()?,
            path: fields
                .take_string("path")?
                .map(|text| canonical("path", &text))
                .transpose()?,
        };
        fields.finish(FIELDS)?;
        if redirect.https.is_none() && redirect.host.is_none() && redirect.path.is_none() {
            let detail = "a redirect needs scheme, host or path: it would lead to where it came \
                          from";
            return Err(Bad::new(BadCode::MissingField, detail));
        }
        Ok(redirect)
    }

    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({ "status": self.status });
        if let Some(https) = &self.https {
            value["scheme"] = json!(word_of(https, SCHEMES));
        }
        if let Some(host) = &self.host {
            value["host"] = json!(host.as_str());
        }
        if let Some(path) = &self.path {
            value["path"] = json!(path);
        }
        value
    }
}

fn status(value: &Value) -> Result<u16, Bad> {
    let found = STATUSES
        .into_iter()
        .find(|n| value.as_u64() == Some((*n).into()));
    found.ok_or_else(|| {
        let given = if value.is_number() {
            shown(value)
        } else {
            kind(value).to_owned()
        };
        let detail = format!("\"status\" must be 301, 302, 307 or 308, not {given}");
        bad_value("status", detail)
    })
}
