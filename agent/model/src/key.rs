//! Reading keys of the registry in etcd, without its prefix.

use super::kind::{Key, Kind};
use super::{AppName, Bad, BadCode, EdgeName, Host, InstanceId, SetName, quoted};

impl Key {
    /// Reads a key. What is not in canonical form is refused, not folded.
    pub fn parse(key: &str) -> Result<Self, Bad> {
        if let Some((kind, rest)) = Kind::of(key) {
            return Key::from_names(kind, &mut Names::new(kind, rest));
        }
        let forms = Kind::ALL.iter().map(|kind| kind.declaration());
        let forms = forms.filter(|d| d.weight > 0).map(|d| d.form);
        let detail = format!(
            "{} is not a key of this registry: {}",
            quoted(key),
            forms.collect::<Vec<_>>().join(", ")
        );
        Err(Bad::new(BadCode::UnknownKey, detail))
    }
}

impl Kind {
    /// The kind of a key, and what stands behind its prefix, canonical or not.
    pub fn of(key: &str) -> Option<(Self, &str)> {
        let mut kinds = Kind::ALL.iter().copied();
        kinds.find_map(|kind| {
            let declaration = kind.declaration();
            let is_one = declaration.prefix() == declaration.form;
            let rest = key.strip_prefix(declaration.prefix())?;
            (!is_one || rest.is_empty()).then_some((kind, rest))
        })
    }

    /// The word for one: what its keys begin with, in the singular.
    pub fn word(self) -> &'static str {
        let prefix = self.declaration().prefix();
        match prefix.strip_suffix('/') {
            Some(several) => several.strip_suffix('s').unwrap_or(several),
            None => prefix,
        }
    }

    /// Whether a change of such a key is an event. (The rest is what agents
    /// agree on among themselves.)
    pub fn is_event(self) -> bool {
        self.declaration().api.is_some() || self == Kind::Health
    }
}

/// The names behind a key's prefix, read one by one.
pub(super) struct Names<'a> {
    kind: Kind,
    rest: Option<&'a str>,
    whole: &'a str,
}

impl<'a> Names<'a> {
    pub(super) fn new(kind: Kind, rest: &'a str) -> Self {
        Self {
            kind,
            rest: Some(rest),
            whole: rest,
        }
    }

    pub(super) fn next<T: Name>(&mut self) -> Result<T, Bad> {
        let form = self.kind.declaration().form;
        let Some(rest) = self.rest.take() else {
            let key = format!("{}{}", self.kind.declaration().prefix(), self.whole);
            let detail = format!("{} lacks the id: {form}", quoted(&key));
            return Err(Bad::new(BadCode::BadId, detail));
        };
        // The last name has all that is left.
        let name = match rest.split_once('/') {
            Some((name, more)) if T::HAS_NO_SLASH && form.matches('<').count() > 1 => {
                self.rest = Some(more);
                name
            }
            _ => rest,
        };
        T::read(name)
    }
}

/// A name in a key.
pub(super) trait Name: Sized {
    /// Whether a slash ends it.
    const HAS_NO_SLASH: bool = true;

    fn read(text: &str) -> Result<Self, Bad>;
}

impl Name for Host {
    fn read(text: &str) -> Result<Self, Bad> {
        Host::from_key(text)
    }
}

impl Name for AppName {
    fn read(text: &str) -> Result<Self, Bad> {
        AppName::new(text)
    }
}

impl Name for EdgeName {
    fn read(text: &str) -> Result<Self, Bad> {
        EdgeName::new(text)
    }
}

impl Name for SetName {
    fn read(text: &str) -> Result<Self, Bad> {
        SetName::new(text)
    }
}

impl Name for InstanceId {
    const HAS_NO_SLASH: bool = false;

    fn read(text: &str) -> Result<Self, Bad> {
        InstanceId::new(text)
    }
}

impl Name for Box<str> {
    fn read(text: &str) -> Result<Self, Bad> {
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_of_what_users_know_by_these_words() {
        let events = Kind::ALL.iter().filter(|kind| kind.is_event());
        let words: Vec<_> = events.map(|kind| kind.word()).collect();
        for word in [
            "route", "app", "instance", "override", "health", "settings", "edge",
        ] {
            assert!(words.contains(&word), "{word} is not in {words:?}");
        }
        for none in [Kind::Actor, Kind::Agent, Kind::Epoch, Kind::Rebuild] {
            assert!(!none.is_event(), "{none:?}");
        }
    }

    #[test]
    fn the_kind_of_a_key_is_told_by_its_prefix() {
        assert_eq!(Kind::of("routes/UPPER"), Some((Kind::Route, "UPPER")));
        assert_eq!(Kind::of("settings"), Some((Kind::Settings, "")));
        assert_eq!(Kind::of("settings/x"), None);
        assert_eq!(Kind::of("other"), None);
    }
}
