//! What an element follows from, and how: pure functions of apps, annotations
//! and settings. So a change of the settings can be judged before it is made.

use pointsman_model::{Element, Health, HealthCheck, Marks};
use pointsman_store::Revision;

use super::annotations::Annotations;
use super::apps::{App, Apps, Member};
use super::settings::Shaping;
use super::stored::Stored;
use super::{Held, InstanceState};

/// What policies and instances derive from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Derivation<'a> {
    pub(super) apps: &'a Apps,
    pub(super) annotations: &'a Annotations,
    pub(super) shaping: &'a Shaping,
}

/// What an instance's element is, short of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has a record, with these marks.
    Record(Marks),
    /// It has none.
    Nothing,
    /// It is left as it is.
    Frozen,
}

impl<'a> Derivation<'a> {
    /// What an app's element is: the policy over the defaults.
    pub(super) fn policy(self, app: &App) -> Held {
        let Some(stored) = &app.policy else {
            return Held::Nothing;
        };
        let Some(policy) = &stored.value else {
            return Held::Frozen;
        };
        if self.shaping.are_bad() {
            return Held::Frozen;
        }
        let record = match self.shaping.defaults() {
            None => policy.record(stored.mod_revision),
            Some(defaults) => policy.over(defaults).record(stored.mod_revision),
        };
        Held::Value(record.into())
    }

    /// What an instance's element is.
    pub(super) fn instance(self, member: Member<'_>) -> Held {
        match (self.verdict(member), &member.stored.value) {
            (Verdict::Record(marks), Some(instance)) => {
                Held::Value(instance.record(member.stored.mod_revision, marks).into())
            }
            (Verdict::Nothing, _) => Held::Nothing,
            (Verdict::Frozen | Verdict::Record(_), _) => Held::Frozen,
        }
    }

    pub(super) fn verdict(self, member: Member<'_>) -> Verdict {
        match &member.stored.value {
            None => Verdict::Frozen,
            Some(_) if self.shaping.are_bad() => Verdict::Frozen,
            Some(instance) if !self.shaping.allow(instance.addr) || self.is_shadowed(member) => {
                Verdict::Nothing
            }
            Some(_) => self.marks(member).map_or(Verdict::Frozen, Verdict::Record),
        }
    }

    /// Whether an instance is routed to, and if not, why.
    pub(super) fn state(self, member: Member<'_>) -> InstanceState {
        let Some(instance) = &member.stored.value else {
            return InstanceState::Bad;
        };
        if !self.shaping.allow(instance.addr) {
            return InstanceState::NotAllowed;
        }
        if self.is_shadowed(member)
            && let Some(Element::Instance(app, id)) = self.apps.owners().owner(instance.addr)
        {
            return InstanceState::Shadowed {
                app: app.into(),
                id: id.into(),
            };
        }
        if self.is_draining(member) {
            return InstanceState::Draining;
        }
        match self.found_down(member) {
            Some(found) if self.has_check(member.app) != Some(false) => InstanceState::Unhealthy {
                reason: found.reason.as_deref().map(str::to_owned),
            },
            _ => InstanceState::Live,
        }
    }

    /// Whether another instance has the address of this one.
    pub(super) fn is_shadowed(self, member: Member<'_>) -> bool {
        let Member {
            name, id, stored, ..
        } = member;
        let alone = stored.value.as_ref().filter(|instance| !instance.shared);
        alone.is_some_and(|instance| {
            let owners = self.apps.owners();
            !owners.is_owner(instance.addr, stored.create_revision, name, id)
        })
    }

    /// What holds for an instance; `None` while it cannot be known, since its
    /// app's policy is bad.
    fn marks(self, member: Member<'_>) -> Option<Marks> {
        Some(Marks {
            draining: self.is_draining(member),
            down: self.found_down(member).is_some() && self.has_check(member.app)?,
        })
    }

    fn is_draining(self, member: Member<'_>) -> bool {
        let created = member.stored.create_revision;
        let overrides = &self.annotations.overrides;
        let found = overrides.about(member.name, member.id, created);
        found.is_some_and(|found| found.draining)
    }

    /// What probes found, if that was nothing good.
    fn found_down(self, member: Member<'_>) -> Option<&'a Health> {
        let created = member.stored.create_revision;
        let health = &self.annotations.health;
        let found = health.about(member.name, member.id, created);
        found.filter(|found| !found.up)
    }

    /// The mod revision of the key by which an instance is unhealthy.
    pub(super) fn unhealthy(self, member: Member<'_>) -> Option<Revision> {
        let health = &self.annotations.health;
        self.found_down(member)
            .and(health.revision(member.name, member.id))
    }

    /// Whether an app's instances are probed; `None` while its policy is bad.
    pub(super) fn has_check(self, app: &App) -> Option<bool> {
        match &app.policy {
            Some(Stored { value: None, .. }) => None,
            _ => Some(self.health_check(app).is_some()),
        }
    }

    /// How an app's instances are probed, by its policy or by the defaults.
    pub(super) fn health_check(self, app: &'a App) -> Option<&'a HealthCheck> {
        let own = match &app.policy {
            None => None,
            Some(stored) => stored.value.as_ref()?.health_check.as_ref(),
        };
        own.or_else(|| self.shaping.defaults()?.health_check.as_ref())
    }
}
