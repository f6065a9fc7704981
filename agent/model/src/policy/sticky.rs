//! Sessions that stay with an instance.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::kinds::Setting;
use crate::Bad;
use crate::fields::Fields;
use crate::values::{bad_value, duration, millis, span, token, word};

const FIELDS: &str = "cookie, ttl, with, drain";
const COOKIE: &str = "pointsman";
const SHORTEST_TTL: Duration = Duration::from_secs(1);
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 3600);

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
}

impl Setting for Sticky {
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
        Value::Object(map)
    }
}

fn read(value: Value) -> Result<Sticky, Bad> {
    let mut fields = Fields::from_value("stickiness", value)?;
    let cookie = fields.take_string("cookie")?;
    let ttl = fields.take("ttl");
    let with = fields.take_string("with")?;
    let drain = fields.take_string("drain")?;
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
    };
    let ours = sticky.cookie.as_deref().unwrap_or(COOKIE);
    if sticky.with.as_deref() == Some(ours) {
        let detail = "\"with\" must be a cookie of the app's, not the edge's own, which it names";
        return Err(bad_value("with", detail));
    }
    Ok(sticky)
}
