//! `pointsman serve`: the sync, the prober and the admin API, side by side
//! until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api::{self, ApiState};
use crate::listen::{self, Limits};
use crate::metrics::Metrics;
use crate::probe::Prober;
use crate::readiness::Readiness;
use crate::shutdown::{TaskError, Tasks};
use crate::sink::Sink;
use crate::store::Store;
use crate::sync::{Observe, Sync};

/// What an agent is made of.
#[derive(Debug)]
pub struct Agent {
    /// Its name.
    pub id: String,
    /// etcd.
    pub store: Arc<dyn Store>,
    /// Redis.
    pub sink: Arc<dyn Sink>,
    /// The largest body of a request to the admin API, in bytes.
    pub body_limit: usize,
    /// How long the store may take for one request.
    pub patience: Duration,
    /// How long a shutdown may take.
    pub grace: Duration,
    /// How often etcd, the table and Redis are compared at rest.
    pub reconcile: Duration,
}

/// Runs an agent until `stop`. A task that ends before that is an error.
pub async fn run(
    agent: Agent,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let metrics = Arc::new(Metrics::new());
    let observer: Arc<dyn Observe> = Arc::clone(&metrics) as _;
    let (sync, table, status) =
        Sync::new(&agent.id, Arc::clone(&agent.store), agent.sink, observer);
    let prober = Prober::new(
        &agent.id,
        Arc::clone(&agent.store),
        Arc::clone(&table),
        status.clone(),
        metrics.probe.clone(),
    );
    let state = ApiState {
        store: agent.store,
        table,
        readiness: Readiness::new(status, stop.clone()),
        metrics,
        agent: agent.id,
        body_limit: agent.body_limit,
        patience: agent.patience,
    };
    let mut tasks = Tasks::new(stop.clone());
    let token = stop.clone();
    tasks.spawn("sync", async move {
        sync.reconcile_every(agent.reconcile).run(token).await;
        Ok::<_, Infallible>(())
    });
    let token = stop.clone();
    tasks.spawn("probe", async move {
        prober.run(token).await;
        Ok::<_, Infallible>(())
    });
    if let Ok(address) = listener.local_addr() {
        info!(%address, "the admin API listens");
    }
    let router = api::router(Arc::new(state));
    tasks.spawn(
        "admin",
        listen::serve(listener, router, Limits::default(), stop),
    );
    let ended = tasks.run(agent.grace).await;
    if ended.is_ok() {
        info!("stopped");
    }
    ended
}
