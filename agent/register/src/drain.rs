//! Draining the instance by an agent, before it is deregistered.

use std::time::Duration;

use pointsman_client::AgentClient;
use pointsman_wire::Code;
use tracing::{info, warn};

/// How an instance is drained.
#[derive(Clone, Debug)]
pub struct Drain {
    /// The agent.
    pub client: AgentClient,
    /// The app.
    pub app: String,
    /// The instance's id.
    pub id: String,
    /// For how long at the most.
    pub timeout: Duration,
}

impl Drain {
    /// Waits until the instance is drained, or cannot be. Cancel safe: the
    /// instance then stays draining.
    pub(super) async fn run(&self) {
        let Self {
            client,
            app,
            id,
            timeout,
        } = self;
        info!(?timeout, "draining");
        let error = match client.drain(app, id, *timeout).await {
            Ok(drained) => {
                return info!(edges = drained.edges.len(), "drained: nothing is in flight");
            }
            Err(error) => error,
        };
        match error.problem().map(|problem| problem.code) {
            Some(Code::NotDrained) => warn!(%error, "not drained in time, deregistering"),
            _ => warn!(%error, "not drained, deregistering"),
        }
    }
}
