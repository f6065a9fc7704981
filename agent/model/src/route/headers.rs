//! What a rule changes about the headers of requests and responses.

use serde_json::{Map, Value, json};

use crate::Bad;
use crate::fields::{Fields, json_map, string};
use crate::values::{array, bad_value, printable, token};

const FIELDS: &str = "request, response";
const EDIT_FIELDS: &str = "set, remove";
const MOST: usize = 32;
const LONGEST_VALUE: usize = 1024;

/// Headers of a request that the edge sets by itself.
const OF_REQUESTS: &[&str] = &[
    "Connection",
    "Upgrade",
    "Transfer-Encoding",
    "Content-Length",
    "TE",
    "Keep-Alive",
    "Proxy-Connection",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Request-Id",
];

/// Headers of a response that the edge sets by itself.
const OF_RESPONSES: &[&str] = &[
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Keep-Alive",
    "Upgrade",
    "X-Pointsman-Error",
];

/// What a rule changes about headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// On the way to the app.
    pub request: HeaderEdits,
    /// On the way back.
    pub response: HeaderEdits,
}

/// Headers to set and to remove; each name is there once, in any case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdits {
    /// Names with their new values.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Names that go.
    pub remove: Vec<Box<str>>,
}

impl Headers {
    pub(super) fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("headers", value)?;
        let request = fields.take_nested("request", |v| HeaderEdits::from_json(v, OF_REQUESTS))?;
        let response =
            fields.take_nested("response", |v| HeaderEdits::from_json(v, OF_RESPONSES))?;
        fields.finish(FIELDS)?;
        let request = request.unwrap_or_default();
        if request
            .remove
            .iter()
            .any(|name| name.eq_ignore_ascii_case("Host"))
        {
            let detail = "Host can be set, but not removed: HTTP/1.1 needs it";
            return Err(bad_value("request.remove", detail));
        }
        Ok(Self {
            request,
            response: response.unwrap_or_default(),
        })
    }

    /// `None` if they change nothing.
    pub(super) fn to_json(&self) -> Option<Value> {
        let mut map = Map::new();
        for (name, edits) in [("request", &self.request), ("response", &self.response)] {
            if let Some(edits) = edits.to_json() {
                map.insert(name.to_owned(), edits);
            }
        }
        (!map.is_empty()).then_some(Value::Object(map))
    }
}

impl HeaderEdits {
    fn from_json(value: Value, reserved: &[&str]) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("a change of headers", value)?;
        let mut edits = Self::default();
        if let Some(set) = fields.take("set") {
            for (name, value) in json_map("what is set", set).map_err(|bad| bad.within("set"))? {
                let name = edits.new_name("set", &name, reserved)?;
                let text = string(&name, value).map_err(|bad| bad.within("set"))?;
                let value =
                    printable(&name, &text, LONGEST_VALUE).map_err(|bad| bad.within("set"))?;
                edits.set.push((name, value));
            }
        }
        if let Some(remove) = fields.take("remove") {
            for item in array("remove", remove, 0, MOST)? {
                let name = edits.new_name("remove", &string("remove", item)?, reserved)?;
                edits.remove.push(name);
            }
        }
        fields.finish(EDIT_FIELDS)?;
        Ok(edits)
    }

    fn new_name(&self, field: &str, text: &str, reserved: &[&str]) -> Result<Box<str>, Bad> {
        let name = token(field, text)?;
        let same = |other: &str| other.eq_ignore_ascii_case(&name);
        if reserved.iter().any(|other| same(other)) {
            let detail = format!("{name} cannot be changed by a rule: the edge sets it");
            return Err(bad_value(field, detail));
        }
        let mut known = self.set.iter().map(|(name, _)| name).chain(&self.remove);
        if known.any(|other| same(other)) {
            let detail = format!("{name} is there twice, though case makes no difference");
            return Err(bad_value(field, detail));
        }
        if self.set.len() + self.remove.len() >= MOST {
            let detail = format!("a rule changes up to {MOST} headers of each direction");
            return Err(bad_value(field, detail));
        }
        Ok(name)
    }

    fn to_json(&self) -> Option<Value> {
        let mut map = Map::new();
        if !self.set.is_empty() {
            let set = self.set.iter();
            let set = set.map(|(name, value)| (name.to_string(), json!(value)));
            map.insert("set".to_owned(), Value::Object(set.collect()));
        }
        if !self.remove.is_empty() {
            map.insert("remove".to_owned(), json!(self.remove));
        }
        (!map.is_empty()).then_some(Value::Object(map))
    }
}
