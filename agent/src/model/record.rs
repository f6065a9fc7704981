//! Elements of the table in Redis, and changes to them.

use std::fmt;

use serde::{Serialize, Serializer};

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
/// `[key, value]` and `[key, field, value]`, with `null` for "gone".
pub fn changes_json<'a>(changes: impl IntoIterator<Item = &'a Change>) -> String {
    serde_json::to_string(&Rows(changes.into_iter().collect())).unwrap_or_default()
}

/// Written straight into the text: a rebuild writes a million of them.
struct Rows<'a>(Vec<&'a Change>);

impl Serialize for Rows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|change| Row(change)))
    }
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
