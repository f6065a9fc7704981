//! Who owns an address: of the registrations that take requests (with a weight,
//! and not draining) the one with the highest create revision, or if none does,
//! of all. So whoever takes none displaces nobody that does. (A heartbeat moves
//! only the mod revision, so it cannot win an address back.)
//!
//! Whether the settings allow an address makes no difference here: where they
//! do not, no instance is routed to, whoever owns it.

use std::collections::HashMap;

use pointsman_model::{Address, Element};
use pointsman_store::Revision;

/// An instance's registration, as a claim on its address: ordered by strength.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddressClaim {
    /// Whether the instance takes requests.
    serves: bool,
    created: Revision,
    app: Box<str>,
    id: Box<str>,
}

impl AddressClaim {
    pub(super) fn new(serves: bool, created: Revision, app: &str, id: &str) -> Self {
        Self {
            serves,
            created,
            app: app.into(),
            id: id.into(),
        }
    }

    pub(super) fn element(&self) -> Element {
        Element::Instance(self.app.clone(), self.id.clone())
    }

    fn is_of(&self, created: Revision, app: &str, id: &str) -> bool {
        self.created == created && *self.app == *app && *self.id == *id
    }

    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.app, self.id)
    }
}

/// All registrations by address. There is nearly always one; the owner stands
/// last.
#[derive(Debug, Default)]
pub(super) struct Owners(HashMap<Address, Vec<AddressClaim>>);

impl Owners {
    /// Adds a claim. Answers the old and the new owner if the owner changed.
    pub(super) fn claim(&mut self, addr: Address, claim: AddressClaim) -> [Option<Element>; 2] {
        let claims = self.0.entry(addr).or_default();
        let before = claims.last().cloned();
        if let Err(at) = claims.binary_search(&claim) {
            claims.insert(at, claim);
        }
        turned(before.as_ref(), claims.last())
    }

    /// Takes a claim back. Answers like [`Owners::claim`].
    pub(super) fn release(&mut self, addr: Address, claim: &AddressClaim) -> [Option<Element>; 2] {
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
        self.claims(addr)
            .last()
            .is_some_and(|claim| claim.is_of(created, app, id))
    }

    /// The claim of a registration, as it was made.
    pub(super) fn claim_of(
        &self,
        addr: Address,
        created: Revision,
        app: &str,
        id: &str,
    ) -> Option<&AddressClaim> {
        let mut claims = self.claims(addr).iter();
        claims.find(|claim| claim.is_of(created, app, id))
    }

    /// The owner, if it takes requests.
    pub(super) fn serving(&self, addr: Address) -> Option<&AddressClaim> {
        self.claims(addr).last().filter(|claim| claim.serves)
    }

    /// The registrations at an address, the owner last.
    pub(super) fn claims(&self, addr: Address) -> &[AddressClaim] {
        self.0.get(&addr).map_or(&[], Vec::as_slice)
    }

    /// The addresses that several claim.
    pub(super) fn contested(&self) -> impl Iterator<Item = Address> {
        let several = self.0.iter().filter(|(_, claims)| claims.len() > 1);
        several.map(|(addr, _)| *addr)
    }

    pub(super) fn owner(&self, addr: Address) -> Option<Element> {
        self.claims(addr).last().map(AddressClaim::element)
    }
}

fn turned(before: Option<&AddressClaim>, after: Option<&AddressClaim>) -> [Option<Element>; 2] {
    if before == after {
        return [None, None];
    }
    [
        before.map(AddressClaim::element),
        after.map(AddressClaim::element),
    ]
}
