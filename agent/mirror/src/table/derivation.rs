//! What an element follows from, and how: pure functions of apps, annotations
//! and settings. So a change of the settings can be judged before it is made.

use pointsman_model::{Element, Health, HealthCheck, InitialState, Marks};
use pointsman_store::Revision;

use super::annotations::Annotations;
use super::apps::{App, Apps, Member};
use super::settings::Shaping;
use super::stored::Stored;
use super::{Held, InstanceState, Standing};

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
        let effective = self.shaping.effective(policy);
        Held::Value(effective.record(stored.mod_revision).into())
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
            Some(_) => match (self.standing(member), self.is_draining(member)) {
                (None, _) => Verdict::Frozen,
                // Edges count what is in flight on draining instances.
                (Some(Standing::Pending), false) => Verdict::Nothing,
                (Some(standing), draining) => Verdict::Record(Marks {
                    draining,
                    down: standing != Standing::Healthy,
                }),
            },
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
        let found = || self.found(member)?.reason.as_deref().map(str::to_owned);
        match self.standing(member) {
            Some(Standing::Healthy) => InstanceState::Live,
            Some(Standing::Pending) => InstanceState::Pending { reason: found() },
            Some(Standing::Unhealthy) | None => InstanceState::Unhealthy { reason: found() },
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

    pub(super) fn is_draining(self, member: Member<'_>) -> bool {
        let created = member.stored.create_revision;
        let overrides = &self.annotations.overrides;
        let found = overrides.about(member.name, member.id, created);
        found.is_some_and(|found| found.draining)
    }

    /// What an instance is by what probes found; `None` while it cannot be known,
    /// since its app's policy is bad. Where they have found nothing yet, it is
    /// pending if it was registered after all that asks for it: so a check that
    /// is added, or changed, takes no instance out.
    pub(super) fn standing(self, member: Member<'_>) -> Option<Standing> {
        if self.has_check(member.app).is_none() {
            let is_known = self.found(member).is_none_or(|found| found.up);
            return is_known.then_some(Standing::Healthy);
        }
        let Some((check, since)) = self.check_since(member.app) else {
            return Some(Standing::Healthy);
        };
        let created = member.stored.create_revision;
        let begun = self.apps.pending_since;
        let may_be_pending = check.initial == InitialState::Pending;
        let is_new = || created > since && begun.is_some_and(|begun| created > begun);
        Some(match self.found(member) {
            Some(found) if found.up => Standing::Healthy,
            Some(found) if found.pending && may_be_pending => Standing::Pending,
            Some(_) => Standing::Unhealthy,
            None if may_be_pending && is_new() => Standing::Pending,
            None => Standing::Healthy,
        })
    }

    /// What probes found.
    pub(super) fn found(self, member: Member<'_>) -> Option<&'a Health> {
        let health = &self.annotations.health;
        health.about(member.name, member.id, member.stored.create_revision)
    }

    /// The mod revision of the key with what probes found.
    pub(super) fn found_at(self, member: Member<'_>) -> Option<Revision> {
        let health = &self.annotations.health;
        self.found(member)
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
        self.check_since(app).map(|(check, _)| check)
    }

    /// The same, and the last change of the key that says so.
    pub(super) fn check_since<'b>(self, app: &'b App) -> Option<(&'b HealthCheck, Revision)>
    where
        'a: 'b,
    {
        let own = match &app.policy {
            None => None,
            Some(stored) => {
                let check = stored.value.as_ref()?.health_check.as_ref();
                check.map(|check| (check, stored.mod_revision))
            }
        };
        own.or_else(|| {
            let check = self.shaping.defaults()?.health_check.as_ref()?;
            Some((check, self.shaping.revision()?))
        })
    }
}
