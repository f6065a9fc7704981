//! Apps in the table: their policies, and their instances with the claims on
//! addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use pointsman_model::{Address, Element, Instance, Policy};
use pointsman_store::Revision;

use super::owners::{AddressClaim, Owners};
use super::stored::Stored;
use super::touched::Touched;
use super::{Keys, behind};

/// An app: it has a policy, or instances, or both.
#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) policy: Option<Stored<Box<Policy>>>,
    pub(super) instances: BTreeMap<Box<str>, Stored<Instance>>,
}

/// An instance with its names and its app.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub(super) name: &'a str,
    pub(super) app: &'a App,
    pub(super) id: &'a str,
    pub(super) stored: &'a Stored<Instance>,
}

impl Member<'_> {
    pub(super) fn element(&self) -> Element {
        Element::Instance(self.name.into(), self.id.into())
    }
}

/// All apps.
#[derive(Debug, Default)]
pub(super) struct Apps {
    by_name: BTreeMap<Box<str>, App>,
    /// `<app>/` of those with instances: in the order of the instances' keys
    /// ("a-b/1" stands before "a/1", though "a" stands before "a-b").
    by_key: BTreeSet<Box<str>>,
    owners: Owners,
    policies: usize,
    instances: usize,
    /// Instances that were registered before this revision are never pending;
    /// `None`: none is.
    pub(super) pending_since: Option<Revision>,
}

impl Apps {
    /// Takes a policy in, or out. Touches its own element only.
    pub(super) fn set_policy(
        &mut self,
        name: &str,
        policy: Option<Stored<Box<Policy>>>,
        touched: &mut Touched,
    ) {
        touched.insert(|| Element::App(name.into()));
        let app = self.app(name);
        let (had, has) = (app.policy.is_some(), policy.is_some());
        app.policy = policy;
        self.policies = self.policies + usize::from(has) - usize::from(had);
        self.drop_if_empty(name);
    }

    /// Takes an instance in, or out. Touches those whose claims on an address
    /// it changes, too; answers the addresses of which that is so.
    pub(super) fn set_instance(
        &mut self,
        name: &str,
        id: &str,
        instance: Option<Stored<Instance>>,
        draining: bool,
        touched: &mut Touched,
    ) -> [Option<Address>; 2] {
        let has = instance.is_some();
        let mut claimed = instance
            .as_ref()
            .and_then(|stored| claim(name, id, stored, draining));
        let instances = &mut self.app(name).instances;
        let old = match instance {
            Some(instance) => instances.insert(id.into(), instance),
            None => instances.remove(id),
        };
        if has || old.is_some() {
            touched.instance(name, id);
        }
        match (instances.len(), has) {
            (0, _) => self.by_key.remove(&*format!("{name}/")),
            (1, true) if old.is_none() => self.by_key.insert(format!("{name}/").into()),
            _ => false,
        };
        self.instances = self.instances + usize::from(has) - usize::from(old.is_some());
        let mut released = old.as_ref().and_then(|old| {
            let addr = old.value.as_ref()?.addr;
            let claim = self.owners.claim_of(addr, old.create_revision, name, id)?;
            Some((addr, claim.clone()))
        });
        if released == claimed {
            // A heartbeat.
            (released, claimed) = (None, None);
        }
        let addresses = [&released, &claimed].map(|claim| claim.as_ref().map(|(addr, _)| *addr));
        if let Some((addr, claim)) = released {
            let turned = self.owners.release(addr, &claim);
            touched.extend(turned.into_iter().flatten());
        }
        if let Some((addr, claim)) = claimed {
            let turned = self.owners.claim(addr, claim);
            touched.extend(turned.into_iter().flatten());
        }
        self.drop_if_empty(name);
        addresses
    }

    /// Weighs the claim of an instance anew, whose draining may have changed;
    /// touches those whose claims that changes.
    pub(super) fn weigh(&mut self, name: &str, id: &str, draining: bool, touched: &mut Touched) {
        let Some(member) = self.member(name, id) else {
            return;
        };
        let Some((addr, becomes)) = claim(name, id, member.stored, draining) else {
            return;
        };
        let created = member.stored.create_revision;
        let Some(was) = self.owners.claim_of(addr, created, name, id).cloned() else {
            return;
        };
        if was == becomes {
            return;
        }
        let turned = self.owners.release(addr, &was).into_iter();
        let turned = turned.chain(self.owners.claim(addr, becomes));
        touched.extend(turned.flatten());
    }

    pub(super) fn get(&self, name: &str) -> Option<&App> {
        self.by_name.get(name)
    }

    pub(super) fn member(&self, name: &str, id: &str) -> Option<Member<'_>> {
        let (name, app) = self.by_name.get_key_value(name)?;
        let (id, stored) = app.instances.get_key_value(id)?;
        Some(Member {
            name,
            app,
            id,
            stored,
        })
    }

    pub(super) fn policy(&self, name: &str) -> Option<&Stored<Box<Policy>>> {
        self.get(name)?.policy.as_ref()
    }

    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// How many apps, policies and instances there are.
    pub(super) fn counts(&self) -> [usize; 3] {
        [self.by_name.len(), self.policies, self.instances]
    }

    /// Apps in a range of names.
    pub(super) fn range(
        &self,
        range: (Bound<&str>, Bound<&str>),
    ) -> impl Iterator<Item = (&Box<str>, &App)> {
        self.by_name.range::<str, _>(range)
    }

    /// Instances of an app behind `after`, by id.
    pub(super) fn members_of<'a>(
        &'a self,
        name: &str,
        after: Option<&str>,
    ) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let found = self.by_name.get_key_value(name).into_iter();
        let after: Bound<Box<str>> =
            after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.into()));
        found.flat_map(move |(name, app)| {
            let range = app.instances.range((after.clone(), Bound::Unbounded));
            range.map(move |(id, stored)| Member {
                name,
                app,
                id,
                stored,
            })
        })
    }

    /// All instances behind `after`, by app and id.
    pub(super) fn members<'a>(
        &'a self,
        after: Option<(&str, &str)>,
    ) -> impl Iterator<Item = Member<'a>> + use<'a> {
        let rest = after.map(|(name, id)| self.members_of(name, Some(id)));
        let names = behind(after.map(|(name, _)| name));
        let others = self.by_name.range::<str, _>(names);
        let others = others.flat_map(|(name, app)| {
            app.instances.iter().map(move |(id, stored)| Member {
                name,
                app,
                id,
                stored,
            })
        });
        rest.into_iter().flatten().chain(others)
    }

    pub(super) fn policy_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        let policies = self
            .range(behind(after))
            .filter_map(|(name, app)| Some((name, app.policy.as_ref()?)));
        policies
            .take(limit)
            .map(|(name, policy)| (format!("apps/{name}"), policy.mod_revision))
            .collect()
    }

    /// `after` is `<app>/<id>`, as in the key.
    pub(super) fn instance_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        let split = after.and_then(|after| after.split_once('/'));
        let rest = split.map(|(name, id)| self.members_of(name, Some(id)));
        let prefix = split.map(|(name, _)| format!("{name}/"));
        let others = self.by_key.range::<str, _>(behind(prefix.as_deref()));
        let others = others.flat_map(|prefix| self.members_of(prefix.trim_end_matches('/'), None));
        rest.into_iter()
            .flatten()
            .chain(others)
            .take(limit)
            .map(|m| {
                let key = format!("instances/{}/{}", m.name, m.id);
                (key, m.stored.mod_revision)
            })
            .collect()
    }

    pub(super) fn instance_revision(&self, name: &str, id: &str) -> Option<Revision> {
        self.member(name, id).map(|m| m.stored.mod_revision)
    }

    fn app(&mut self, name: &str) -> &mut App {
        if !self.by_name.contains_key(name) {
            self.by_name.insert(name.into(), App::default());
        }
        self.by_name.entry(name.into()).or_default()
    }

    fn drop_if_empty(&mut self, name: &str) {
        let empty = |app: &App| app.policy.is_none() && app.instances.is_empty();
        if self.by_name.get(name).is_some_and(empty) {
            self.by_name.remove(name);
        }
    }
}

/// What an instance claims: nothing if its address may be shared.
fn claim(
    name: &str,
    id: &str,
    stored: &Stored<Instance>,
    draining: bool,
) -> Option<(Address, AddressClaim)> {
    let value = stored.value.as_ref().filter(|instance| !instance.shared)?;
    let serves = value.weight > 0 && !draining;
    let claim = AddressClaim::new(serves, stored.create_revision, name, id);
    Some((value.addr, claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_that_is_gone_leaves_nothing_behind() {
        let mut apps = Apps::default();
        let touched = &mut Touched::Unrecorded;
        let stored = |value| Stored {
            create_revision: 2,
            mod_revision: 2,
            value,
        };
        let instance = Instance::from_value(b"10.0.0.1:80").ok();
        for id in ["1", "2"] {
            apps.set_instance("shop", id, Some(stored(instance.clone())), false, touched);
        }
        apps.set_instance("shop", "1", None, false, touched);
        assert_eq!(apps.by_key.len(), 1);
        apps.set_instance("shop", "2", None, false, touched);
        assert!(apps.by_key.is_empty() && apps.by_name.is_empty());
        assert_eq!(apps.counts(), [0; 3]);
    }
}
