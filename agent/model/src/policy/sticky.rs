//! Sessions that stay with an instance.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::kinds::PolicyField;
use crate::Bad;
use crate::fields::Fields;
use crate::path::canonical;
use crate::values::{bad_value, duration, millis, span, token, word, word_of};

const FIELDS: &str = "cookie, ttl, with, drain, same_site, path";
const COOKIE: &str = "pointsman";
const SHORTEST_TTL: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

const SAME_SITES: &[(&str, SameSite)] = &[
    ("lax", SameSite::Lax),
    ("strict", SameSite::Strict),
    ("none", SameSite::None),
];

/// With which requests from other sites a browser sends the cookie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// With navigation to the site.
    #[default]
    Lax,
    /// With none.
    Strict,
    /// With all, over TLS only.
    None,
}

/// How a client stays with an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sticky {
    /// The name of the edge's cookie, if it is not `pointsman`.
    pub cookie: Option<Box<str>>,
    /// How long the cookie lasts; if there is none, until the browser ends.
    pub ttl: Option<Duration>,
    /// The app's own cookie that begins a session.
    pub with: Option<Box<str>>,
    /// Whether a draining instance keeps its sessions.
    pub keep_while_draining: bool,
    /// With which requests from other sites a browser sends the cookie.
    pub same_site: SameSite,
    /// For which paths a browser sends the cookie, if not for all.
    pub path: Option<Box<str>>,
}

impl PolicyField for Sticky {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        read(value).map_err(|bad| bad.within(name))
    }

    fn value(&self) -> Value {
        self.map(|ttl, map| {
            map.insert("ttl".to_owned(), span(ttl).into());
        })
    }

    fn add_to_record(&self, name: &str, record: &mut Map<String, Value>) {
        let value = self.map(|ttl, map| {
            map.insert("ttl_ms".to_owned(), millis(ttl).into());
        });
        record.insert(name.to_owned(), value);
    }
}

impl Sticky {
    fn map(&self, put_ttl: impl FnOnce(Duration, &mut Map<String, Value>)) -> Value {
        let mut map = Map::new();
        if let Some(cookie) = &self.cookie {
            map.insert("cookie".to_owned(), json!(cookie));
        }
        if let Some(ttl) = self.ttl {
            put_ttl(ttl, &mut map);
        }
        if let Some(with) = &self.with {
            map.insert("with".to_owned(), json!(with));
        }
        if self.keep_while_draining {
            map.insert("drain".to_owned(), json!("keep"));
        }
        if self.same_site != SameSite::Lax {
            let same_site = word_of(&self.same_site, SAME_SITES);
            map.insert("same_site".to_owned(), same_site.into());
        }
        if let Some(path) = &self.path {
            map.insert("path".to_owned(), json!(path));
        }
        Value::Object(map)
    }
}

fn read(value: Value) -> Result<Sticky, Bad> {
    let mut fields = Fields::from_value("stickiness", value)?;
    let cookie = fields.take_string("cookie")?;
    let ttl = fields.take("ttl");
    let with = fields.take_string("with")?;
    let drain = fields.take_string("drain")?;
    let same_site = fields.take_string("same_site")?;
    let path = fields.take_string("path")?;
    fields.finish(FIELDS)?;
    let sticky = Sticky {
        cookie: cookie
            .map(|name| token("cookie", &name))
            .transpose()?
            .filter(|name| **name != *COOKIE),
        ttl: ttl
            .map(|v| duration("ttl", &v, SHORTEST_TTL, LONGEST_TTL))
            .transpose()?,
        with: with.map(|name| token("with", &name)).transpose()?,
        keep_while_draining: drain
            .map(|text| word("drain", &text, &[("keep", true)]))
            .transpose()?
            .unwrap_or_default(),
        same_site: same_site
            .map(|text| word("same_site", &text, SAME_SITES))
            .transpose()?
            .unwrap_or_default(),
        path: path
            .map(|text| cookie_path(&text))
            .transpose()?
            .filter(|path| **path != *"/"),
    };
    let ours = sticky.cookie.as_deref().unwrap_or(COOKIE);
    if sticky.with.as_deref() == Some(ours) {
        let detail = "\"with\" must be a cookie of the app's, not the edge's own, which it names";
        return Err(bad_value("with", detail));
    }
    Ok(sticky)
}

fn cookie_path(text: &str) -> Result<Box<str>, Bad> {
    let path = canonical("path", text)?;
    if path.contains(';') {
        let detail = "\"path\" must be a path without a semicolon, which would end it in the \
                      cookie; give a prefix of it";
        return Err(bad_value("path", detail));
    }
    Ok(path)
}
