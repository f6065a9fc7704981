//! Single values, read with the range that they must lie in; and what a
//! refusal says of them.

use std::time::Duration;

use serde_json::Value;

use super::fields::kind;
use super::{Bad, BadCode, LONGEST_QUOTE, quoted};

/// The longest header, cookie, or query parameter's name, in bytes.
const LONGEST_NAME: usize = 128;

pub(crate) fn bad_value(name: &str, detail: impl Into<String>) -> Bad {
    Bad::new(BadCode::BadValue, detail).field(name)
}

pub(crate) fn boolean(name: &str, value: Value) -> Result<bool, Bad> {
    match value {
        Value::Bool(set) => Ok(set),
        other => {
            let detail = format!("\"{name}\" must be true or false, not {}", shown(&other));
            Err(bad_value(name, detail))
        }
    }
}

/// A whole number from `least` to `most`.
pub(crate) fn whole(name: &str, value: &Value, least: u32, most: u32) -> Result<u32, Bad> {
    value
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
        .filter(|n| (least..=most).contains(n))
        .ok_or_else(|| {
            let detail = format!(
                "\"{name}\" must be a whole number from {least} to {most}, not {}",
                shown(value)
            );
            bad_value(name, detail)
        })
}

/// A duration of whole milliseconds, from `least` to `most`.
pub(crate) fn duration(
    name: &str,
    value: &Value,
    least: Duration,
    most: Duration,
) -> Result<Duration, Bad> {
    value
        .as_str()
        .and_then(|text| humantime::parse_duration(text).ok())
        .filter(|d| (least..=most).contains(d) && d.subsec_nanos().is_multiple_of(1_000_000))
        .ok_or_else(|| {
            let (least, most) = (span(least), span(most));
            let detail = format!(
                "\"{name}\" must be a duration from {least} to {most}, like \"10s\" or \
                 \"1500ms\", not {}",
                shown(value)
            );
            bad_value(name, detail)
        })
}

/// A duration in the greatest unit that it is a whole number of.
pub(crate) fn span(duration: Duration) -> String {
    let ms = millis(duration);
    let units = [
        (86_400_000, "d"),
        (3_600_000, "h"),
        (60_000, "m"),
        (1_000, "s"),
    ];
    let unit = units
        .into_iter()
        .find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    unit.map_or_else(
        || format!("{ms}ms"),
        |(unit, name)| format!("{}{name}", ms / unit),
    )
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// An array of `least` to `most` items.
pub(crate) fn array(
    name: &str,
    value: Value,
    least: usize,
    most: usize,
) -> Result<Vec<Value>, Bad> {
    let bad = |what: String| {
        let detail = format!("\"{name}\" must be an array of {least} to {most} items, {what}");
        bad_value(name, detail)
    };
    match value {
        Value::Array(items) if (least..=most).contains(&items.len()) => Ok(items),
        Value::Array(items) => Err(bad(format!("not of {}", items.len()))),
        other => Err(bad(format!("not {}", kind(&other)))),
    }
}

/// The name of a cookie, or of a header that a rule sets: a token, as RFC 9110 has it.
pub(crate) fn token(name: &str, text: &str) -> Result<Box<str>, Bad> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(ok) {
        return Ok(text.into());
    }
    let detail = format!(
        "\"{name}\" must be a name of 1 to {LONGEST_NAME} letters, digits and !#$%&'*+-.^_`|~, \
         not {}",
        quoted(text)
    );
    Err(bad_value(name, detail))
}

/// The name of a request header that nginx passes on.
pub(crate) fn header(name: &str, text: &str) -> Result<Box<str>, Bad> {
    let ok = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(ok) {
        return Ok(text.into());
    }
    let detail = format!(
        "\"{name}\" must be a header's name of 1 to {LONGEST_NAME} letters, digits and hyphens, \
         not {}: nginx drops request headers with other names, so clients must use another one",
        quoted(text)
    );
    Err(bad_value(name, detail))
}

/// The name of a query parameter.
pub(crate) fn parameter(name: &str, text: &str) -> Result<Box<str>, Bad> {
    let ok = |b: u8| b.is_ascii_graphic() && !b"&=#%+?".contains(&b);
    if (1..=LONGEST_NAME).contains(&text.len()) && text.bytes().all(ok) {
        return Ok(text.into());
    }
    let detail = format!(
        "\"{name}\" must be a name of 1 to {LONGEST_NAME} visible ASCII characters without \
         & = # % + ?, not {}",
        quoted(text)
    );
    Err(bad_value(name, detail))
}

/// Printable ASCII of 1 to `most` bytes, with no blank at its ends.
pub(crate) fn printable(name: &str, text: &str, most: usize) -> Result<Box<str>, Bad> {
    let ok = |b: u8| b.is_ascii_graphic() || b == b' ';
    let fits = (1..=most).contains(&text.len()) && text.trim() == text;
    if fits && text.bytes().all(ok) {
        return Ok(text.into());
    }
    let detail = format!(
        "\"{name}\" must be 1 to {most} printable ASCII characters with no blank at the ends, \
         not {}",
        quoted(text)
    );
    Err(bad_value(name, detail))
}

/// One of `words`.
pub(crate) fn word<T: Copy>(name: &str, text: &str, words: &[(&str, T)]) -> Result<T, Bad> {
    if let Some((_, found)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*found);
    }
    let known: Vec<_> = words.iter().map(|(word, _)| quoted(word)).collect();
    let known = known.join(" or ");
    let detail = format!("\"{name}\" must be {known}, not {}", quoted(text));
    Err(bad_value(name, detail))
}

/// The word of [`word`] that means `value`.
pub(crate) fn word_of<T: PartialEq>(
    value: &T,
    words: &'static [(&'static str, T)],
) -> &'static str {
    let found = words.iter().find(|(_, means)| means == value);
    found.map_or("", |(word, _)| word)
}

/// The one that was found of the fields `names`, of which one must be there.
pub(crate) fn one_of<T>(what: &str, names: &str, mut found: Vec<T>) -> Result<T, Bad> {
    match (found.len(), found.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) => {
            let detail = format!("{what} needs one of the fields {names}");
            Err(Bad::new(BadCode::MissingField, detail))
        }
        (count, _) => {
            let detail = format!("{what} has one of the fields {names}, not {count} of them");
            Err(Bad::new(BadCode::BadValue, detail))
        }
    }
}

/// A field that is `true` or not there.
pub(crate) fn set(name: &str, value: Value) -> Result<(), Bad> {
    if boolean(name, value)? {
        return Ok(());
    }
    let detail = format!("\"{name}\" is true, or not there at all");
    Err(bad_value(name, detail))
}

/// A value for an error message, cut after 80 characters.
pub fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= LONGEST_QUOTE {
        return text;
    }
    let head: String = text.chars().take(LONGEST_QUOTE).collect();
    format!("{head}…")
}
