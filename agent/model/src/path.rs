//! Paths of URLs.

use super::values::bad_value;
use super::{Bad, quoted};

const LONGEST: usize = 1024;

/// A path that requests are compared with, or that takes the place of one:
/// decoded, as nginx's `$uri` is, and with no slash at its end but for `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path(Box<str>);

impl Path {
    /// Takes what a user wrote under `name`; a slash at the end is left out.
    pub(super) fn from_user(name: &str, text: &str) -> Result<Self, Bad> {
        check(text).map_err(|why| bad(name, text, why))?;
        if text.contains('%') {
            let why = "a % cannot stand in it, since it is compared with the decoded path";
            return Err(bad(name, text, why));
        }
        let folded = match text.strip_suffix('/') {
            Some("") | None => text,
            Some(rest) => rest,
        };
        Ok(Self(folded.into()))
    }

    /// The path `/`.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A path that is handed out as it is, with what is percent-encoded in it,
/// and perhaps a query.
pub(super) fn literal(name: &str, text: &str, query: bool) -> Result<Box<str>, Bad> {
    let (path, rest) = match text.split_once('?') {
        Some((path, rest)) if query => (path, rest),
        _ => (text, ""),
    };
    check(path).map_err(|why| bad(name, text, why))?;
    if !rest.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err(bad(name, text, "only visible ASCII without # is possible"));
    }
    let mut encoded = text.split('%').skip(1);
    if encoded.any(|rest| rest.len() < 2 || !rest.bytes().take(2).all(|b| b.is_ascii_hexdigit())) {
        return Err(bad(name, text, "two hexadecimal digits must follow a %"));
    }
    if text.len() > LONGEST {
        return Err(bad(name, text, TOO_LONG));
    }
    Ok(text.into())
}

/// A path of a URL as a browser would send it: by the WHATWG's URL standard,
/// what must be encoded in a path is encoded, `\` is a slash, and segments of
/// dots are resolved; by RFC 3986 section 6.2.2, escapes are in upper case, and
/// unreserved characters are not escaped. The edge compares paths in this form.
pub(super) fn canonical(name: &str, text: &str) -> Result<Box<str>, Bad> {
    let encoded = normalise_escapes(&text.replace('\\', "/"));
    let mut segments: Vec<&str> = Vec::new();
    let mut is_open = false;
    for segment in encoded.split('/').skip(1) {
        is_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(segment),
        }
    }
    if is_open {
        segments.push("");
    }
    let resolved = format!("/{}", segments.join("/"));
    let is_path = encoded.starts_with('/');
    literal(name, if is_path { &resolved } else { text }, false)
}

/// Leaves `?`, `#`, spaces and what is not ASCII as they are, to be refused.
fn normalise_escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        let digits = rest.as_str().get(..2);
        let digits = digits.filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let escaped = digits.and_then(|text| u8::from_str_radix(text, 16).ok());
        match (c, escaped) {
            ('%', Some(byte)) => {
                rest.nth(1);
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
            ('"' | '<' | '>' | '^' | '`' | '{' | '}', _) => {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out
}

const TOO_LONG: &str = "a path has at most 1024 bytes";

fn check(path: &str) -> Result<(), &'static str> {
    if !path.starts_with('/') {
        return Err("it must begin with a slash");
    }
    if path.len() > LONGEST {
        return Err(TOO_LONG);
    }
    if path.contains("//") {
        return Err("nginx merges two slashes in a row: give one");
    }
    if path.contains(['?', '#']) {
        return Err("a ? or # ends a path; give the path alone");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("only visible ASCII is possible");
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err("nginx resolves the segments . and ..: give the path that they lead to");
    }
    Ok(())
}

fn bad(name: &str, text: &str, why: &str) -> Bad {
    let detail = format!(
        "\"{name}\" must be a path like \"/api\", not {}: {why}",
        quoted(text)
    );
    bad_value(name, detail)
}
