//! A JSON object taken apart field by field, so that each mistake gets its
//! own code and a sentence that names the field.

use serde_json::{Map, Value};

use super::{Bad, BadCode, quoted};

pub(crate) struct Fields {
    /// What the object is, for messages: "an instance".
    what: &'static str,
    map: Map<String, Value>,
}

impl Fields {
    pub(crate) fn parse(what: &'static str, raw: &[u8]) -> Result<Self, Bad> {
        let value: Value = serde_json::from_slice(raw)
            .map_err(|e| Bad::new(BadCode::BadJson, format!("{what} is not valid JSON: {e}")))?;
        Self::from_value(what, value)
    }

    pub(crate) fn from_value(what: &'static str, value: Value) -> Result<Self, Bad> {
        match value {
            Value::Object(map) => Ok(Self { what, map }),
            other => Err(Bad::new(
                BadCode::BadJson,
                format!("{what} must be a JSON object, not {}", kind(&other)),
            )),
        }
    }

    /// Takes a field out; JSON's `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|v| !v.is_null())
    }

    pub(crate) fn require(&mut self, name: &str) -> Result<Value, Bad> {
        self.take(name).ok_or_else(|| {
            let what = self.what;
            Bad::new(
                BadCode::MissingField,
                format!("{what} needs the field \"{name}\""),
            )
        })
    }

    pub(crate) fn take_string(&mut self, name: &str) -> Result<Option<String>, Bad> {
        self.take(name).map(|v| string(name, v)).transpose()
    }

    pub(crate) fn require_string(&mut self, name: &str) -> Result<String, Bad> {
        self.require(name).and_then(|v| string(name, v))
    }

    /// Ends the taking apart: a field that is left is one nobody knows.
    pub(crate) fn finish(self, accepted: &str) -> Result<(), Bad> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(name) => Err(Bad::new(
                BadCode::UnknownField,
                format!(
                    "{} has no field {}; it has {accepted}",
                    self.what,
                    quoted(name)
                ),
            )),
        }
    }
}

pub(crate) fn string(name: &str, value: Value) -> Result<String, Bad> {
    match value {
        Value::String(s) => Ok(s),
        other => Err(Bad::new(
            BadCode::BadValue,
            format!("\"{name}\" must be a string, not {}", kind(&other)),
        )),
    }
}

/// The JSON type of a value, for messages.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
