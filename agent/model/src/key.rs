//! Reading keys of the registry in etcd, without its prefix.

use super::kind::{Key, Kind};
use super::{AppName, Bad, BadCode, EdgeName, Host, InstanceId, SetName, quoted};

impl Key {
    /// Reads a key. What is not in canonical form is refused, not folded.
    pub fn parse(key: &str) -> Result<Self, Bad> {
        for kind in Kind::ALL {
            let declaration = kind.declaration();
            let is_one = declaration.prefix() == declaration.form;
            match key.strip_prefix(declaration.prefix()) {
                Some(rest) if !is_one || rest.is_empty() => {
                    return Key::from_names(*kind, &mut Names::new(*kind, rest));
                }
                _ => {}
            }
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
