//! A rule that answers 503 for as long as somebody works on an app.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Bad;
use crate::fields::Fields;
use crate::values::{bad_value, duration, printable, span};

const FIELDS: &str = "retry_after, body, content_type";
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(365 * 24 * 3600);
const LONGEST_BODY: usize = 4096;
const LONGEST_TYPE: usize = 256;

/// What is answered instead of an app; what is `None` is as by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    /// `Retry-After`, whole seconds.
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Option<Box<str>>,
    /// Its type.
    pub content_type: Option<Box<str>>,
}

impl Maintenance {
    pub(super) fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("maintenance", value)?;
        let maintenance = Self {
            retry_after: fields.take("retry_after").map(retry_after).transpose()?,
            body: fields.take_string("body")?.map(body).transpose()?,
            content_type: fields
                .take_string("content_type")?
                .map(content_type)
                .transpose()?,
        };
        fields.finish(FIELDS)?;
        Ok(maintenance)
    }

    pub(super) fn to_json(&self) -> Value {
        let wait = self.retry_after.map(|wait| json!(span(wait)));
        self.json("retry_after", wait)
    }

    /// As a record has it, with whole seconds.
    pub(super) fn record(&self) -> Value {
        let wait = self.retry_after.map(|wait| json!(wait.as_secs()));
        self.json("retry_after_s", wait)
    }

    fn json(&self, name: &str, wait: Option<Value>) -> Value {
        let mut map = Map::new();
        if let Some(wait) = wait {
            map.insert(name.to_owned(), wait);
        }
        if let Some(body) = &self.body {
            map.insert("body".to_owned(), json!(body));
        }
        if let Some(content_type) = &self.content_type {
            map.insert("content_type".to_owned(), json!(content_type));
        }
        Value::Object(map)
    }
}

fn retry_after(value: Value) -> Result<Duration, Bad> {
    let wait = duration("retry_after", &value, SHORTEST_WAIT, LONGEST_WAIT)?;
    if wait.subsec_nanos() == 0 {
        return Ok(wait);
    }
    let detail = "\"retry_after\" must be whole seconds, like \"2m\"";
    Err(bad_value("retry_after", detail))
}

fn body(text: String) -> Result<Box<str>, Bad> {
    if text.len() <= LONGEST_BODY {
        return Ok(text.into());
    }
    let detail = format!(
        "\"body\" must be text of up to {LONGEST_BODY} bytes, not {}",
        text.len()
    );
    Err(bad_value("body", detail))
}

fn content_type(text: String) -> Result<Box<str>, Bad> {
    let found = printable("content_type", &text, LONGEST_TYPE)?;
    match found.split_once('/') {
        Some((kind, rest)) if !kind.is_empty() && !rest.is_empty() => Ok(found),
        _ => {
            let detail = "\"content_type\" must be a media type like \"text/html; charset=utf-8\"";
            Err(bad_value("content_type", detail))
        }
    }
}
