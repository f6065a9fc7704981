//! Who owns an address: the instance with the highest create revision. (A
//! heartbeat moves only the mod revision, so it cannot win an address back.)

use std::collections::HashMap;

use pointsman_model::{Address, Element};
use pointsman_store::Revision;

/// An instance's claim on its address, ordered by strength.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    created: Revision,
    app: Box<str>,
    id: Box<str>,
}

impl Claim {
    pub(super) fn new(created: Revision, app: &str, id: &str) -> Self {
        Self {
            created,
            app: app.into(),
            id: id.into(),
        }
    }

    pub(super) fn element(&self) -> Element {
        Element::Instance(self.app.clone(), self.id.clone())
    }
}

/// All claims. An address has nearly always one; the strongest stands last.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Address, Vec<Claim>>);

impl Owners {
    /// Adds a claim. Answers the old and the new owner if the owner changed.
    pub(super) fn claim(&mut self, addr: Address, claim: Claim) -> [Option<Element>; 2] {
        let claims = self.0.entry(addr).or_default();
        let before = claims.last().cloned();
        if let Err(at) = claims.binary_search(&claim) {
            claims.insert(at, claim);
        }
        turned(before.as_ref(), claims.last())
    }

    /// Takes a claim back. Answers like [`Owners::claim`].
    pub(super) fn release(&mut self, addr: Address, claim: &Claim) -> [Option<Element>; 2] {
        let Some(claims) = self.0.get_mut(&addr) else {
            return [None, None];
        };
        let before = claims.last().cloned();
        if let Ok(at) = claims.binary_search(claim) {
            claims.remove(at);
        }
        let changed = turned(before.as_ref(), claims.last());
        if claims.is_empty() {
            self.0.remove(&addr);
        }
        changed
    }

    pub(super) fn is_owner(&self, addr: Address, created: Revision, app: &str, id: &str) -> bool {
        self.0
            .get(&addr)
            .and_then(|claims| claims.last())
            .is_some_and(|c| c.created == created && *c.app == *app && *c.id == *id)
    }

    /// The owner and the shadowed claims of each address that has several.
    pub(super) fn contested(&self) -> impl Iterator<Item = (Address, &Claim, &[Claim])> {
        self.0
            .iter()
            .filter_map(|(addr, claims)| match claims.split_last() {
                Some((owner, losers)) if !losers.is_empty() => Some((*addr, owner, losers)),
                _ => None,
            })
    }

    pub(super) fn owner(&self, addr: Address) -> Option<Element> {
        self.0
            .get(&addr)
            .and_then(|claims| claims.last())
            .map(Claim::element)
    }
}

fn turned(before: Option<&Claim>, after: Option<&Claim>) -> [Option<Element>; 2] {
    if before == after {
        return [None, None];
    }
    [before.map(Claim::element), after.map(Claim::element)]
}
