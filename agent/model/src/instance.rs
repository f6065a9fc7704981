//! An instance of an app.

use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::values::shown;
use super::{Address, Bad, BadCode, Marks, quoted};
use crate::Revision;

/// The weight of an instance that names none.
pub const DEFAULT_WEIGHT: u16 = 100;
const FIELDS: &str = "addr, weight, zone, shared";
const ZONE_LONGEST: usize = 64;

/// A registered instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Where it listens.
    pub addr: Address,
    /// Its share of the app's requests; 0 means none.
    pub weight: u16,
    /// Its failure domain, free text.
    pub zone: Option<Box<str>>,
    /// Whether the address may belong to other instances at the same time.
    pub shared: bool,
}

impl Instance {
    /// Reads a value: JSON, or plain `ip:port` as existing registrators write.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let text = std::str::from_utf8(raw)
            .map_err(|_| Bad::new(BadCode::BadJson, "an instance must be UTF-8 text"))?;
        let text = text.trim();
        if text.starts_with('{') {
            return Self::from_fields(Fields::parse("an instance", text.as_bytes())?);
        }
        match Address::new(text) {
            Ok(addr) => Ok(Self {
                addr,
                weight: DEFAULT_WEIGHT,
                zone: None,
                shared: false,
            }),
            // Something that was meant as an address gets that message.
            Err(bad) if text.contains(':') && !text.contains(['"', '[', '{']) => Err(bad),
            Err(_) => Err(Bad::new(
                BadCode::BadJson,
                format!(
                    "an instance must be a JSON object or ip:port, not {}",
                    quoted(text)
                ),
            )),
        }
    }

    /// Reads a JSON object that is parsed already.
    pub fn from_map(map: Map<String, Value>) -> Result<Self, Bad> {
        Self::from_fields(Fields::from_value("an instance", Value::Object(map))?)
    }

    fn from_fields(mut fields: Fields) -> Result<Self, Bad> {
        let addr = fields.require("addr")?;
        let Value::String(addr) = addr else {
            let detail = "\"addr\" must be a string, ip:port";
            return Err(Bad::new(BadCode::BadAddr, detail).field("addr"));
        };
        let instance = Self {
            addr: Address::new(&addr).map_err(|bad| bad.field("addr"))?,
            weight: fields.take("weight").map_or(Ok(DEFAULT_WEIGHT), weight)?,
            zone: fields.take_string("zone")?.map(zone).transpose()?,
            shared: match fields.take("shared") {
                None => false,
                Some(Value::Bool(shared)) => shared,
                Some(_) => {
                    let detail = "\"shared\" must be true or false";
                    return Err(Bad::new(BadCode::BadValue, detail).field("shared"));
                }
            },
        };
        fields.finish(FIELDS)?;
        Ok(instance)
    }

    /// The value as the API and `register` write it to etcd.
    pub fn to_value(&self) -> String {
        let mut value = json!({ "addr": self.addr.to_string(), "weight": self.weight });
        if let Some(zone) = &self.zone {
            value["zone"] = json!(zone);
        }
        if self.shared {
            value["shared"] = json!(true);
        }
        value.to_string()
    }

    /// The address in a record that [`Instance::record`] made.
    pub fn address_of(record: &str) -> Option<Address> {
        let fields: Vec<Value> = serde_json::from_str(record).ok()?;
        Address::new(fields.get(1)?.as_str()?).ok()
    }

    /// The field's value in Redis: `["<rev>","<addr>",<weight>]`, with an
    /// object behind for what few instances have.
    pub fn record(&self, rev: Revision, marks: Marks) -> String {
        let mut extras = Map::new();
        if let Some(zone) = &self.zone {
            extras.insert("zone".to_owned(), json!(zone));
        }
        if marks.draining {
            extras.insert("draining".to_owned(), json!(1));
        }
        if marks.down {
            extras.insert("down".to_owned(), json!(1));
        }
        let (rev, addr) = (rev.to_string(), self.addr.to_string());
        if extras.is_empty() {
            json!([rev, addr, self.weight]).to_string()
        } else {
            json!([rev, addr, self.weight, extras]).to_string()
        }
    }
}

pub(super) fn weight(value: Value) -> Result<u16, Bad> {
    value
        .as_u64()
        .and_then(|n| u16::try_from(n).ok())
        .ok_or_else(|| {
            let detail = format!(
                "\"weight\" must be a whole number from 0 to 65535, not {}",
                shown(&value)
            );
            Bad::new(BadCode::BadWeight, detail).field("weight")
        })
}

fn zone(text: String) -> Result<Box<str>, Bad> {
    let fits = (1..=ZONE_LONGEST).contains(&text.len());
    if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.into());
    }
    Err(Bad::new(
        BadCode::BadValue,
        format!(
            "\"zone\" must be 1 to {ZONE_LONGEST} visible ASCII characters, not {}",
            quoted(&text)
        ),
    )
    .field("zone"))
}
