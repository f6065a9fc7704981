//! The types of fields that hold one plain value.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::Bad;
use crate::fields::string;
use crate::values::{boolean, duration, header, millis, span, whole};

/// A field of a policy.
pub(super) trait PolicyField: Sized {
    /// Reads what stands under `name`; a refusal names it.
    fn read(name: &str, value: Value) -> Result<Self, Bad>;

    /// As in etcd and in the API.
    fn value(&self) -> Value;

    /// As in Redis.
    fn add_to_record(&self, name: &str, record: &mut Map<String, Value>) {
        record.insert(name.to_owned(), self.value());
    }
}

impl PolicyField for bool {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        boolean(name, value)
    }

    fn value(&self) -> Value {
        (*self).into()
    }
}

/// A whole number in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole<const LEAST: u32, const MOST: u32>(u32);

impl<const LEAST: u32, const MOST: u32> Whole<LEAST, MOST> {
    pub(super) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl<const LEAST: u32, const MOST: u32> PolicyField for Whole<LEAST, MOST> {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        whole(name, &value, LEAST, MOST).map(Self)
    }

    fn value(&self) -> Value {
        self.0.into()
    }
}

/// A duration of whole milliseconds in a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis<const LEAST: u64, const MOST: u64>(Duration);

impl<const LEAST: u64, const MOST: u64> Millis<LEAST, MOST> {
    pub(super) const fn new(ms: u64) -> Self {
        Self(Duration::from_millis(ms))
    }

    /// The duration.
    pub fn get(self) -> Duration {
        self.0
    }
}

impl<const LEAST: u64, const MOST: u64> PolicyField for Millis<LEAST, MOST> {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        let (least, most) = (Duration::from_millis(LEAST), Duration::from_millis(MOST));
        duration(name, &value, least, most).map(Self)
    }

    fn value(&self) -> Value {
        span(self.0).into()
    }

    fn add_to_record(&self, name: &str, record: &mut Map<String, Value>) {
        record.insert(format!("{name}_ms"), millis(self.0).into());
    }
}

/// The name of a request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderName(Box<str>);

impl HeaderName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PolicyField for HeaderName {
    fn read(name: &str, value: Value) -> Result<Self, Bad> {
        header(name, &string(name, value)?).map(Self)
    }

    fn value(&self) -> Value {
        (*self.0).into()
    }
}
