//! Instances in the table: their claims on addresses, and whether the settings
//! allow them.

use pointsman_model::{Address, Bad, Element, Instance};

use super::owners::{Claim, Owners};
use super::touched::Touched;
use super::{Entry, Table};

impl Table {
    pub(super) fn put_instance(
        &mut self,
        app: &str,
        id: &str,
        entry: Entry<Instance>,
        touched: &mut Touched,
    ) {
        touched.insert(|| Element::Instance(app.into(), id.into()));
        let claim = self
            .claimed(&entry)
            .map(|addr| (addr, entry.create_revision));
        if let Some(old) = self.app(app).instances.insert(id.into(), entry) {
            self.release(app, id, &old, touched);
        }
        if let Some((addr, created)) = claim {
            let changed = self.owners.claim(addr, Claim::new(created, app, id));
            touched.extend(changed.into_iter().flatten());
        }
    }

    /// The address that an instance claims for itself alone.
    fn claimed(&self, entry: &Entry<Instance>) -> Option<Address> {
        let claims = |i: &&Instance| !i.shared && self.refusal(i).is_none();
        entry.value.as_ref().filter(claims).map(|i| i.addr)
    }

    /// Why the settings do not allow an instance.
    pub(super) fn refusal(&self, instance: &Instance) -> Option<Bad> {
        self.shaping.refusal(instance.addr)
    }

    /// Judges all instances anew, after the settings have changed.
    pub(super) fn judge_instances(&mut self, touched: &mut Touched) {
        self.owners = Owners::default();
        let mut claims = Vec::new();
        let mut refusals = Vec::new();
        for (app, held) in &self.apps {
            for (id, entry) in &held.instances {
                touched.insert(|| Element::Instance(app.clone(), id.clone()));
                if let Some(addr) = self.claimed(entry) {
                    claims.push((addr, Claim::new(entry.create_revision, app, id)));
                }
                if let Some(instance) = &entry.value {
                    refusals.push((format!("instances/{app}/{id}"), self.refusal(instance)));
                }
            }
        }
        for (addr, claim) in claims {
            self.owners.claim(addr, claim);
        }
        for (key, refusal) in refusals {
            match refusal {
                Some(bad) => self.bad.insert(key.into(), bad),
                None => self.bad.remove(key.as_str()),
            };
        }
    }

    pub(super) fn release(
        &mut self,
        app: &str,
        id: &str,
        old: &Entry<Instance>,
        touched: &mut Touched,
    ) {
        // A claim that was never made cannot be taken back, which is as well.
        if let Some(addr) = old.value.as_ref().map(|instance| instance.addr) {
            let claim = Claim::new(old.create_revision, app, id);
            touched.extend(self.owners.release(addr, &claim).into_iter().flatten());
        }
    }
}
