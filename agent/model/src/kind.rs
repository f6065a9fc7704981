//! The kinds of keys. All that is particular to a kind stands here once: its
//! keys, what they become in Redis, where the API has them, how messages call
//! them, and how much they weigh when a listing lacks many.

use std::fmt;

use super::key::Names;
use super::{
    AppName, Bad, EdgeName, Element, Health, Host, Instance, InstanceId, ObjectSet, Override,
    Pause, Policy, Route, SetName, Settings,
};

/// What a kind of key is.
#[derive(Debug)]
pub struct Declaration {
    /// The form of its keys, without the registry's prefix: `routes/<host>`.
    pub form: &'static str,
    /// Its path in the API, where it has one.
    pub api: Option<&'static str>,
    /// How messages call one, with the names in braces.
    pub noun: &'static str,
    /// The sentence that says that one is not there.
    pub absent: &'static str,
    /// Whether it counts, and how much, when a listing lacks many keys.
    pub weight: usize,
    /// Refuses a bad value; nothing is asked of the values of some kinds.
    pub check: fn(&[u8]) -> Result<(), Bad>,
}

impl Declaration {
    /// What its keys begin with; of a kind with one key, the key itself.
    pub fn prefix(&self) -> &'static str {
        self.form.find('<').map_or(self.form, |at| &self.form[..at])
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $(($($name:ident: $type:ty),*))? {
        form: $form:literal,
        value: $value:expr,
        element: $element:expr,
        touches: $touches:expr,
        api: $api:expr,
        noun: $noun:literal,
        absent: $absent:literal,
        weight: $weight:literal,
    })*) => {
        /// A key of the contract.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Key {
            $($(#[$doc])* #[doc = concat!("`", $form, "`")] $kind $(($($type),*))?,)*
        }

        /// A kind of key.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Kind] = &[$(Kind::$kind),*];

            /// What it is.
            pub fn declaration(self) -> &'static Declaration {
                match self {
                    $(Kind::$kind => &Declaration {
                        form: $form,
                        api: $api,
                        noun: $noun,
                        absent: $absent,
                        weight: $weight,
                        check: $value,
                    },)*
                }
            }
        }

        impl Key {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Key::$kind { .. } => Kind::$kind,)*
                }
            }

            /// The names in it, in their order.
            pub fn names(&self) -> Vec<(&'static str, &str)> {
                match self {
                    $(Key::$kind $(($($name),*))? => {
                        vec![$($((stringify!($name), ($name).as_ref())),*)?]
                    })*
                }
            }

            /// The element that this key becomes in Redis, if it becomes one.
            pub fn element(&self) -> Option<Element> {
                match self {
                    $(Key::$kind $(($($name),*))? => {
                        $($(let $name: &str = ($name).as_ref();)* let _ = ($($name,)*);)?
                        $element
                    })*
                }
            }

            /// The element that each change of this key touches, if there is
            /// one: its own, or that of the instance that it is about.
            pub fn touches(&self) -> Option<Element> {
                match self {
                    $(Key::$kind $(($($name),*))? => {
                        $($(let $name: &str = ($name).as_ref();)* let _ = ($($name,)*);)?
                        $touches
                    })*
                }
            }

            /// Reads the names of a key of this kind.
            pub(super) fn from_names(kind: Kind, names: &mut Names<'_>) -> Result<Self, Bad> {
                match kind {
                    $(Kind::$kind => Ok(Key::$kind $(($(names.next::<$type>()?),*))?),)*
                }
            }
        }
    };
}

fn none(_: &[u8]) -> Result<(), Bad> {
    Ok(())
}

fn instance_element(app: &str, id: &str) -> Option<Element> {
    Some(Element::Instance(app.into(), id.into()))
}

kinds! {
    /// Which app a host goes to.
    Route(host: Host) {
        form: "routes/<host>",
        value: |raw| Route::from_value(raw).map(drop),
        element: Some(Element::Route(host.into())),
        touches: Some(Element::Route(host.into())),
        api: Some("/v1/routes/{host}"),
        noun: "the route {host}",
        absent: "no route is bound to {host}",
        weight: 1,
    }
    /// That a route's requests wait at the edges, until this goes.
    Pause(host: Host) {
        form: "pauses/<host>",
        value: |raw| Pause::from_value(raw).map(drop),
        element: None,
        touches: Some(Element::Route(host.into())),
        api: Some("/v1/routes/{host}/pause"),
        noun: "the pause of the route {host}",
        absent: "the route {host} is not paused",
        weight: 1,
    }
    /// The policy of an app.
    App(app: AppName) {
        form: "apps/<app>",
        value: |raw| Policy::from_value(raw).map(drop),
        element: Some(Element::App(app.into())),
        touches: Some(Element::App(app.into())),
        api: Some("/v1/apps/{app}"),
        noun: "the policy of the app {app}",
        absent: "the app {app} has no policy",
        weight: 1,
    }
    /// An instance of an app.
    Instance(app: AppName, id: InstanceId) {
        form: "instances/<app>/<id>",
        value: |raw| Instance::from_value(raw).map(drop),
        element: instance_element(app, id),
        touches: instance_element(app, id),
        api: Some("/v1/apps/{app}/instances/{id}"),
        noun: "the instance {id} of the app {app}",
        absent: "the app {app} has no instance {id}",
        weight: 1,
    }
    /// An operator's word on an instance.
    Override(app: AppName, id: InstanceId) {
        form: "overrides/<app>/<id>",
        value: |raw| Override::from_value(raw).map(drop),
        element: None,
        touches: instance_element(app, id),
        api: Some("/v1/apps/{app}/instances/{id}/draining"),
        noun: "the draining of the instance {id} of the app {app}",
        absent: "the instance {id} of the app {app} is not draining",
        weight: 1,
    }
    /// What probes of an instance found.
    Health(app: AppName, id: InstanceId) {
        form: "health/<app>/<id>",
        value: |raw| Health::from_value(raw).map(drop),
        element: None,
        touches: instance_element(app, id),
        api: None,
        noun: "the health of the instance {id} of the app {app}",
        absent: "probes found nothing about the instance {id} of the app {app}",
        weight: 1,
    }
    /// What shapes records.
    Settings {
        form: "settings",
        value: |raw| Settings::from_value(raw).map(drop),
        element: None,
        touches: None,
        api: Some("/v1/settings"),
        noun: "the settings",
        absent: "there are no settings: all is as by default",
        weight: 0,
    }
    /// The registry's name.
    Epoch {
        form: "epoch",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the epoch",
        absent: "the registry has no epoch",
        weight: 0,
    }
    /// Instances that were registered before this key are never pending.
    Pending {
        form: "pending",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the beginning of pending instances",
        absent: "no instance is ever pending",
        weight: 0,
    }
    /// The claim on a rebuild.
    Rebuild {
        form: "rebuild",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the claim on a rebuild",
        absent: "nobody has claimed a rebuild",
        weight: 0,
    }
    /// An operator allows a listing to remove much.
    Confirm {
        form: "confirm",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the confirmation",
        absent: "nothing is confirmed",
        weight: 0,
    }
    /// An operator gives the table in Redis to a new epoch.
    Adopt {
        form: "adopt",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the adoption",
        absent: "nothing is adopted",
        weight: 0,
    }
    /// Who makes a change: written in the same transaction.
    Actor {
        form: "actor",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the actor",
        absent: "no change says who made it",
        weight: 0,
    }
    /// An edge that was heard from.
    Edge(edge: EdgeName) {
        form: "edges/<edge>",
        value: none,
        element: None,
        touches: None,
        api: Some("/v1/edges/{edge}"),
        noun: "the edge {edge}",
        absent: "no edge {edge} was ever heard from, or it has quit",
        weight: 0,
    }
    /// What was applied together, so that it can be pruned.
    Set(set: SetName) {
        form: "sets/<set>",
        value: |raw| ObjectSet::from_value(raw).map(drop),
        element: None,
        touches: None,
        api: Some("/v1/sets/{set}"),
        noun: "the set {set}",
        absent: "there is no set {set}",
        weight: 0,
    }
    /// An agent that is there.
    Agent(agent: Box<str>) {
        form: "agents/<agent>",
        value: none,
        element: None,
        touches: None,
        api: None,
        noun: "the agent {agent}",
        absent: "there is no agent {agent}",
        weight: 0,
    }
}

impl Key {
    /// `template` with this key's names in place of those in braces.
    pub fn fill(&self, template: &str) -> String {
        self.names()
            .into_iter()
            .fold(template.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{name}}}"), value)
            })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().declaration().prefix())?;
        for (n, (_, name)) in self.names().into_iter().enumerate() {
            let slash = if n > 0 { "/" } else { "" };
            write!(f, "{slash}{name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_that_of_its_keys() {
        for kind in Kind::ALL {
            let declaration = kind.declaration();
            let key = declaration.form.replace(['<', '>'], "");
            let parsed = Key::parse(&key).unwrap();
            assert_eq!(parsed.kind(), *kind);
            assert_eq!(parsed.to_string(), key);
            let names = parsed.names();
            for text in [declaration.noun, declaration.absent]
                .into_iter()
                .chain(declaration.api)
            {
                assert!(!parsed.fill(text).contains('{'), "{text}");
            }
            for (name, value) in names {
                assert_eq!(name, value);
            }
            assert!(parsed.element().is_none() || parsed.element() == parsed.touches());
        }
    }

    #[test]
    fn no_prefix_begins_another_one() {
        for kind in Kind::ALL {
            let begin = Kind::ALL.iter().filter(|other| {
                let other = other.declaration().prefix();
                other.starts_with(kind.declaration().prefix())
            });
            assert_eq!(begin.count(), 1, "{kind:?}");
        }
    }

    #[test]
    fn a_value_is_judged_by_its_kind() {
        let refused = |kind: Kind, raw: &[u8]| (kind.declaration().check)(raw).is_err();
        assert!(!refused(Kind::Route, br#"{"app":"shop"}"#));
        assert!(refused(Kind::App, br#"{"app":"shop"}"#));
        assert!(!refused(Kind::Health, br#"{"up":true}"#));
        assert!(refused(Kind::Override, br#"{"up":true}"#));
        assert!(!refused(Kind::Epoch, b"\xff"));
    }
}
