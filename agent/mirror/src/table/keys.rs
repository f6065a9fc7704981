//! Keys by their kinds: how each is taken in, counted, found and listed. The only
//! file that knows all kinds: one with state is a field of the table, and an arm
//! in each of these.

use pointsman_model::{
    Health, InitialState, Instance, Key, Kind, Override, Pause, Policy, Settings,
};
use pointsman_store::{KeyValue, Revision};

use super::settings::Shaping;
use super::stored::Stored;
use super::stored_rules::StoredRules;
use super::touched::Touched;
use super::{Keys, Table};

impl Table {
    /// Takes a key in as it is now; `None`: it is gone.
    pub(super) fn set(&mut self, name: &str, kv: Option<&KeyValue>, touched: &mut Touched) {
        let key = match Key::parse(name) {
            Ok(key) => key,
            Err(bad) => return self.set_bad(name, kv.map(|_| bad)),
        };
        let before = match &key {
            Key::Route(host) => {
                let (route, bad) = Stored::read(kv, StoredRules::from_value);
                let before = self.before(name, &key, bad);
                self.routes.set(host.as_str(), route, touched);
                before
            }
            Key::App(app) => {
                let (policy, bad) = Stored::read(kv, |raw| Policy::from_value(raw).map(Box::new));
                let before = self.before(name, &key, bad);
                let app = app.as_str();
                let initial = self.initial(app);
                self.apps.set_policy(app, policy, touched);
                // A policy also says whether what probes found counts, and since
                // when new instances are pending: if it leaves that to the
                // defaults now, perhaps for longer.
                let after = self.initial(app);
                let own = kv.map(|kv| kv.mod_revision);
                let is_longer = matches!(
                    after,
                    Some(Some((InitialState::Pending, since))) if Some(since) != own
                );
                let state = |found: Option<Option<(InitialState, Revision)>>| {
                    found.map(|check| check.map(|(state, _)| state))
                };
                if is_longer && after != initial {
                    let members = self.apps.members_of(app, None);
                    touched.extend(members.map(|member| member.element()));
                } else if state(after) != state(initial) {
                    touched.extend(self.probed_out(app));
                } else {
                    touched.extend(self.idle(app));
                }
                before
            }
            Key::Pause(host) => {
                let (pause, bad) = Stored::read(kv, Pause::from_value);
                let before = self.before(name, &key, bad);
                self.routes.set_pause(host.as_str(), pause, touched);
                before
            }
            Key::Instance(app, id) => {
                let (instance, bad) = Stored::read(kv, Instance::from_value);
                let before = self.before(name, &key, bad);
                let (app, id) = (app.as_str(), id.as_str());
                let draining = instance.as_ref().is_some_and(|instance| {
                    let overrides = &self.annotations.overrides;
                    let found = overrides.about(app, id, instance.create_revision);
                    found.is_some_and(|found| found.draining)
                });
                let apps = &mut self.apps;
                let addresses = apps.set_instance(app, id, instance, draining, touched);
                for addr in addresses.into_iter().flatten() {
                    self.index.note_address(&self.apps, &self.shaping, addr);
                }
                before
            }
            Key::Override(app, id) => {
                let (value, bad) = Stored::read(kv, Override::from_value);
                let before = self.before(name, &key, bad);
                let overrides = &mut self.annotations.overrides;
                let (app, id) = (app.as_str(), id.as_str());
                overrides.set(app, id, value, touched);
                let draining = self.is_draining(app, id);
                self.apps.weigh(app, id, draining, touched);
                before
            }
            Key::Health(app, id) => {
                let (value, bad) = Stored::read(kv, Health::from_value);
                let before = self.before(name, &key, bad);
                let health = &mut self.annotations.health;
                health.set(app.as_str(), id.as_str(), value, touched);
                before
            }
            Key::Settings => {
                let (settings, bad) = Stored::read(kv, Settings::from_value);
                self.shaping = Shaping(settings);
                return self.set_bad(name, bad);
            }
            Key::Epoch => {
                self.epoch = kv.map(|kv| String::from_utf8_lossy(&kv.value).into());
                return;
            }
            Key::Edge(name) => {
                let name = name.as_str();
                match kv {
                    Some(kv) => self.edges.insert(name.into(), kv.mod_revision),
                    None => self.edges.remove(name),
                };
                return;
            }
            Key::Agent(id) => {
                match kv {
                    Some(kv) => self.agents.insert(id.clone(), kv.create_revision),
                    None => self.agents.remove(id),
                };
                return;
            }
            Key::Pending => {
                self.pending_key = kv.map(|kv| kv.mod_revision);
                self.apps.pending_since = kv.map(|kv| kv.create_revision);
                touched.extend(self.index.all_idle());
                return;
            }
            Key::Actor | Key::Rebuild | Key::Confirm | Key::Adopt | Key::Set(_) => return,
        };
        self.keep(before);
    }

    fn is_draining(&self, app: &str, id: &str) -> bool {
        let member = self.apps.member(app, id);
        member.is_some_and(|member| self.derivation().is_draining(member))
    }

    /// How many keys of a kind there are, as far as the table counts them.
    pub fn count(&self, kind: Kind) -> usize {
        let [_, policies, instances] = self.apps.counts();
        match kind {
            Kind::Route => self.routes.len(),
            Kind::Pause => self.routes.pause_count(),
            Kind::App => policies,
            Kind::Instance => instances,
            Kind::Override => self.annotations.overrides.len(),
            Kind::Health => self.annotations.health.len(),
            Kind::Settings => usize::from(self.shaping.revision().is_some()),
            Kind::Agent => self.agents.len(),
            Kind::Edge => self.edges.len(),
            Kind::Pending => usize::from(self.pending_key.is_some()),
            Kind::Actor | Kind::Epoch | Kind::Rebuild | Kind::Confirm | Kind::Adopt | Kind::Set => {
                0
            }
        }
    }

    /// The mod revision of a key, if it is there; canonical keys only.
    pub fn key_revision(&self, key: &str) -> Option<Revision> {
        match Key::parse(key).ok()? {
            Key::Route(host) => self.routes.revision(host.as_str()),
            Key::Pause(host) => self.routes.pause_revision(host.as_str()),
            Key::App(app) => {
                let policy = self.apps.policy(app.as_str());
                policy.map(|policy| policy.mod_revision)
            }
            Key::Instance(app, id) => self.apps.instance_revision(app.as_str(), id.as_str()),
            Key::Override(app, id) => {
                let overrides = &self.annotations.overrides;
                overrides.revision(app.as_str(), id.as_str())
            }
            Key::Health(app, id) => self.annotations.health.revision(app.as_str(), id.as_str()),
            Key::Settings => self.shaping.revision(),
            Key::Edge(name) => self.edges.get(name.as_str()).copied(),
            Key::Pending => self.pending_key,
            Key::Actor
            | Key::Epoch
            | Key::Rebuild
            | Key::Confirm
            | Key::Adopt
            | Key::Agent(_)
            | Key::Set(_) => None,
        }
    }

    /// Keys of routes behind that of `after`, in byte order, with their mod
    /// revisions.
    pub fn route_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.routes.keys(after, limit)
    }

    /// The same of policies.
    pub fn policy_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.apps.policy_keys(after, limit)
    }

    /// The same of instances; `after` is `<app>/<id>`.
    pub fn instance_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.apps.instance_keys(after, limit)
    }

    /// The same of pauses.
    pub fn pause_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.routes.pause_keys(after, limit)
    }

    /// The same of overrides; `after` is `<app>/<id>`.
    pub fn override_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.annotations.overrides.keys("overrides", after, limit)
    }

    /// The same of what probes found; `after` is `<app>/<id>`.
    pub fn health_keys(&self, after: Option<&str>, limit: usize) -> Keys {
        self.annotations.health.keys("health", after, limit)
    }
}
