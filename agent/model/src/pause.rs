//! A pause: requests to a route wait at the edges until it is resumed.

use serde_json::json;

use super::Bad;
use super::fields::Fields;
use super::values::whole;

/// How many requests of a route wait, unless said otherwise.
const DEFAULT_MAX: u32 = 1_000;
/// No edge lets more of a route's requests wait.
const LARGEST_MAX: u32 = 100_000;

/// The value of a key `pauses/<host>`. How long the pause lasts is up to the
/// lease that the key hangs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// How many requests may wait at each edge.
    pub max: u32,
}

impl Pause {
    /// A pause in which up to `max` requests wait, 1,000 by default.
    pub fn new(max: Option<u32>) -> Result<Self, Bad> {
        let max = json!(max.unwrap_or(DEFAULT_MAX));
        let max = whole("max", &max, 1, LARGEST_MAX)?;
        Ok(Self { max })
    }

    /// Reads a value.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields::parse("a pause", raw)?;
        let max = fields.take("max");
        fields.finish("max")?;
        let max = max.map(|max| whole("max", &max, 1, LARGEST_MAX));
        Self::new(max.transpose()?)
    }

    /// The value to write; also what a route's record has.
    pub fn to_value(self) -> String {
        json!({ "max": self.max }).to_string()
    }
}
