//! `pointsman serve`: the sync, the prober, the followers of edges and events,
//! and the admin API, side by side until told to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use pointsman_api::ApiState;
use pointsman_api::listen::{self, Limits};
use pointsman_api::origin::HostNames;
use pointsman_api::readiness::Readiness;
use pointsman_edges::EdgeFollower;
use pointsman_edges::source::ReportSource;
use pointsman_events::EventFollower;
use pointsman_mirror::Mirror;
use pointsman_probe::Prober;
use pointsman_publish::Publisher;
use pointsman_publish::sink::Sink;
use pointsman_store::{SignedStore, Store};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::metrics::Counters;
use crate::shutdown::{TaskError, Tasks};

/// How long the events wait for the sync; it may be held up for ever.
const SYNC_FIRST: Duration = Duration::from_secs(10);

/// What an agent is made of.
#[derive(Debug)]
pub struct AgentParts {
    /// Its name.
    pub id: String,
    /// etcd.
    pub store: Arc<dyn Store>,
    /// Redis.
    pub sink: Arc<dyn Sink>,
    /// What edges report there.
    pub reports: Arc<dyn ReportSource>,
    /// By which names clients may ask for the admin API.
    pub hosts: HostNames,
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
    agent: AgentParts,
    listener: TcpListener,
    stop: CancellationToken,
) -> Result<(), TaskError> {
    let counted = Counters::new();
    // What the agent writes by itself is its own.
    let own: Arc<dyn Store> = Arc::new(SignedStore::of_agent(Arc::clone(&agent.store), &agent.id));
    let mirror = Mirror::new(Arc::clone(&own));
    let (table, probed) = (Arc::clone(mirror.table()), mirror.subscribe());
    let (publisher, status) = Publisher::new(&agent.id, mirror, agent.sink, counted.publish);
    let prober = Prober::new(&agent.id, Arc::clone(&own), probed, counted.probe);
    let (follower, edges) = EdgeFollower::new(own, agent.reports, Arc::clone(&table));
    let (event_follower, events) = EventFollower::new(Arc::clone(&agent.store));
    let mut synced = status.clone();
    let state = ApiState {
        store: pointsman_api::signed(agent.store, &agent.id),
        table,
        edges,
        events,
        readiness: Readiness::new(status, stop.clone()),
        metrics: counted.shown,
        agent: agent.id,
        hosts: agent.hosts,
        body_limit: agent.body_limit,
        patience: agent.patience,
    };
    let mut tasks = Tasks::new(stop.clone());
    let token = stop.clone();
    tasks.spawn("sync", async move {
        publisher.reconcile_every(agent.reconcile).run(token).await;
        Ok::<_, Infallible>(())
    });
    let token = stop.clone();
    tasks.spawn("edges", async move {
        follower.run(token).await;
        Ok::<_, Infallible>(())
    });
    let token = stop.clone();
    tasks.spawn("events", async move {
        // The history is long, and the sync comes first.
        let synced = timeout(SYNC_FIRST, synced.wait_for(|status| status.ready));
        token.run_until_cancelled(synced).await;
        event_follower.run(token).await;
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
    let router = pointsman_api::router(Arc::new(state));
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
