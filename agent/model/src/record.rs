//! Elements of the table in Redis, and changes to them.

use std::fmt;

use serde::{Serialize, Serializer};

use super::Kind;

/// The app that stands for all that have no policy of their own; no app can be
/// called so.
const EVERY_APP: &str = "*";

/// One element in Redis: a string, or one field of a hash.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Element {
    /// The string `route:<host>`.
    Route(Box<str>),
    /// The string `app:<app>`, or `app:*`.
    App(Box<str>),
    /// The field `<id>` of the hash `inst:<app>`.
    Instance(Box<str>, Box<str>),
}

impl Element {
    /// The string `app:*`: the defaults, for apps without a policy. It stands
    /// before all other apps.
    pub fn defaults() -> Self {
        Element::App(EVERY_APP.into())
    }

    /// Whether this is [`Element::defaults`].
    pub fn is_defaults(&self) -> bool {
        matches!(self, Element::App(app) if **app == *EVERY_APP)
    }

    /// The kind of key that it comes from; the defaults come from the settings,
    /// and count as what they are in Redis.
    pub fn kind(&self) -> Kind {
        match self {
            Element::Route(_) => Kind::Route,
            Element::App(_) => Kind::App,
            Element::Instance(..) => Kind::Instance,
        }
    }

    /// The Redis key, without the prefix.
    pub fn redis_key(&self) -> String {
        match self {
            Element::Route(host) => format!("route:{host}"),
            Element::App(app) => format!("app:{app}"),
            Element::Instance(app, _) => format!("inst:{app}"),
        }
    }

    /// The hash field, where the element is one.
    pub fn field(&self) -> Option<&str> {
        match self {
            Element::Route(_) | Element::App(_) => None,
            Element::Instance(_, id) => Some(id),
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redis_key())?;
        self.field().map_or(Ok(()), |id| write!(f, " {id}"))
    }
}

/// What an element becomes; `None` means that it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The element.
    pub element: Element,
    /// Its value.
    pub value: Option<Box<str>>,
}

impl Change {
    /// About how many bytes the change takes on the wire.
    pub fn size(&self) -> usize {
        let name = match &self.element {
            Element::Route(a) | Element::App(a) => a.len(),
            Element::Instance(a, b) => a.len() + b.len(),
        };
        name + self.value.as_ref().map_or(0, |v| v.len()) + 16
    }
}

/// The changes as the Redis scripts and the stream carry them: a JSON array of
/// `[key, value]` and `[key, field, value]`, with `null` for "gone". Each one has
/// a line of its own, so an edge can read them a few at a time.
pub fn changes_json<'a>(changes: impl IntoIterator<Item = &'a Change>) -> String {
    let mut text = b"[".to_vec();
    for change in changes {
        if text.len() > 1 {
            text.extend_from_slice(b",\n");
        }
        if serde_json::to_writer(&mut text, &Row(change)).is_err() {
            return String::new();
        }
    }
    text.push(b']');
    String::from_utf8(text).unwrap_or_default()
}

struct Row<'a>(&'a Change);

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Change { element, value } = self.0;
        let key = element.redis_key();
        match element.field() {
            None => (key, value).serialize(serializer),
            Some(field) => (key, field, value).serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_has_a_line_of_its_own_within_one_array() {
        let change = |field: &str, value: Option<&str>| Change {
            element: Element::Instance("shop".into(), field.into()),
            value: value.map(Into::into),
        };
        assert_eq!(changes_json(&[]), "[]");
        assert_eq!(
            changes_json(&[change("a", Some("[\n]")), change("b\n", None)]),
            "[[\"inst:shop\",\"a\",\"[\\n]\"],\n[\"inst:shop\",\"b\\n\",null]]"
        );
    }
}
