//! Who makes a call. It is kept with the task that serves the call, so that each
//! write says it, wherever in the handlers it is made.

use std::net::SocketAddr;
use std::sync::Arc;

use pointsman_model::Actor;
use pointsman_store::{SignedStore, Store};

use super::writing::DryStore;

tokio::task_local! {
    static CALLER: Caller;
    pub(super) static IS_ADMIN: bool;
}

/// A client with its request.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    pub(super) address: Option<SocketAddr>,
    /// The request's id.
    pub(super) request: String,
}

impl Caller {
    /// Runs what serves this call.
    pub(super) fn serve<F: Future>(self, call: F) -> impl Future<Output = F::Output> {
        CALLER.scope(self, call)
    }

    /// The call that this task serves, for a task that goes on with it.
    pub(super) fn current() -> Self {
        CALLER.try_with(Self::clone).unwrap_or_default()
    }
}

/// A store in which each write is that of the client whose call the task serves.
pub fn signed(store: Arc<dyn Store>, agent: &str) -> Arc<dyn Store> {
    let agent = agent.to_owned();
    let signed = SignedStore::new(store, move || {
        let caller = CALLER.try_with(Caller::clone).ok()?;
        Some(Actor::Api {
            agent: agent.clone(),
            caller: caller.address.map(|address| address.to_string()),
            request: caller.request,
        })
    });
    Arc::new(DryStore(Arc::new(signed)))
}

/// Whether this call's client may take what belongs to others: all may, since
/// the API does not tell one client from another.
pub(super) fn current_is_admin() -> bool {
    IS_ADMIN.try_with(|is_admin| *is_admin).unwrap_or(true)
}
