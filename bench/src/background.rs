//! A load that goes on until it is ended, and what it is compared with: the
//! edge on one side of the machine, etcd, Redis and the agent on the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::bare::PutWatch;
use crate::context::Context;
use crate::cpu::{self, Preference};
use crate::load::{Load, Outcome, Until};
use crate::nginx::Edge;
use crate::proxy::Proxy;
use crate::stats;

/// Between two puts of the bare watch.
const SPACING: Duration = Duration::from_millis(20);

/// A load under way.
pub struct Background {
    flag: Arc<AtomicBool>,
    task: JoinHandle<Result<Outcome>>,
}

impl Background {
    /// Begins; the load's own end is ignored.
    pub fn start(load: &Load) -> Self {
        let flag = Arc::new(AtomicBool::new(false));
        let load = Load {
            until: Until::Flag(Arc::clone(&flag)),
            ..load.clone()
        };
        let task = tokio::spawn(async move { load.run().await });
        Self { flag, task }
    }

    /// Ends it.
    pub async fn finish(self) -> Result<Outcome> {
        self.flag.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

/// What requests and the bare watch were like while something happened.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Meanwhile {
    /// Of the load.
    pub requests: Outcome,
    /// Of the bare `put → watch`, in milliseconds.
    pub watch_p50: f64,
    /// Likewise.
    pub watch_p99: f64,
}

/// Measures requests and the bare watch while `action` runs.
pub async fn meanwhile<T>(
    load: &Load,
    etcd_url: &str,
    action: impl Future<Output = Result<T>>,
) -> Result<(T, Meanwhile)> {
    let watch = PutWatch::start(etcd_url, SPACING).await?;
    let background = Background::start(load);
    let done = action.await;
    let requests = background.finish().await?;
    let times = watch.finish().await?;
    let meanwhile = Meanwhile {
        requests,
        watch_p50: stats::percentile(&times, 0.5),
        watch_p99: stats::percentile(&times, 0.99),
    };
    Ok((done?, meanwhile))
}

/// Cores for load and apps that stand on the edge's side: with two cores, the
/// edge's own, so that nothing on that side waits for the other one.
pub fn edge_side(ctx: &Context) -> Vec<usize> {
    if ctx.cores.load == ctx.cores.others {
        ctx.cores.subject.clone()
    } else {
        ctx.cores.load.clone()
    }
}

/// Puts the apps on the edge's side.
pub fn pin_to_edge_side(ctx: &Context, apps: &Proxy) -> Result<()> {
    apps.pids()
        .iter()
        .try_for_each(|pid| cpu::pin(*pid, &edge_side(ctx)))
}

/// How results say that apps and load came before the edge.
pub fn on_preference(preference: Preference) -> &'static str {
    match preference {
        Preference::AtOnce => {
            ", on which apps and load run as soon as they can (SCHED_FIFO), at rest, too"
        }
        Preference::Nice => {
            ", on which apps and load come before the edge (nice -20), at rest, too"
        }
        Preference::None => "",
    }
}

/// A load of known hosts that comes at a fixed rate, on the edge's side.
pub fn steady(ctx: &Context, edge: &Edge, hosts: &crate::load::Hosts, rate: f64) -> Load {
    Load {
        target: edge.proxy.addr,
        connections: 32,
        hosts: hosts.clone(),
        until: Until::Time(Duration::ZERO),
        rate: Some(rate),
        cores: edge_side(ctx),
        first: false,
        seed: 1,
    }
}
