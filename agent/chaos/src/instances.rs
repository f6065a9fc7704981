//! The apps: instances in this process that answer with their id, whether they
//! are registered or not. So a stale route is seen, and not only refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use pointsman_harness::upstreams::Upstreams;

/// Apps under load: all instances of some stay, and of others some come and go.
pub const STEADY_APPS: usize = 2;
pub const CHURNING_APPS: usize = 3;
/// Instances of each app that are always registered; then those that come and
/// go, if it is an app of that kind.
const STAYING: usize = 2;
const COMING_AND_GOING: usize = 3;

/// The app whose only instance is replaced to see whether changes arrive.
pub const PROBE_APP: &str = "probe";
pub const PROBE_HOST: &str = "probe.example";

/// An instance, by the key under which it is registered.
#[derive(Clone, Debug)]
pub struct ChurnedInstance {
    pub app: String,
    pub id: String,
    pub addr: SocketAddr,
}

/// All of them.
pub struct Instances {
    /// Registered all the time.
    pub staying: Vec<ChurnedInstance>,
    /// Registered and deregistered again and again.
    pub churning: Vec<ChurnedInstance>,
    /// Registered in turns.
    pub probes: Vec<ChurnedInstance>,
    /// The hosts under load, and their apps.
    pub hosts: BTreeMap<String, String>,
    servers: Upstreams,
}

impl Instances {
    /// Starts them.
    pub async fn start() -> Self {
        let mut all = Self {
            staying: Vec::new(),
            churning: Vec::new(),
            probes: Vec::new(),
            hosts: BTreeMap::new(),
            servers: Upstreams::default(),
        };
        for number in 0..STEADY_APPS + CHURNING_APPS {
            let churns = number >= STEADY_APPS;
            let app = if churns {
                format!("churn{}", number - STEADY_APPS)
            } else {
                format!("steady{number}")
            };
            for host in ["www", "api"] {
                all.hosts
                    .insert(format!("{host}.{app}.example"), app.clone());
            }
            for id in 0..STAYING {
                let instance = all.serve(&app, id).await;
                all.staying.push(instance);
            }
            for id in 0..if churns { COMING_AND_GOING } else { 0 } {
                let instance = all.serve(&app, STAYING + id).await;
                all.churning.push(instance);
            }
        }
        for id in 0..2 {
            let instance = all.serve(PROBE_APP, id).await;
            all.probes.push(instance);
        }
        all
    }

    async fn serve(&mut self, app: &str, number: usize) -> ChurnedInstance {
        let id = format!("{app}-{number}");
        ChurnedInstance {
            app: app.to_owned(),
            addr: self.servers.add(Some(&id)).await,
            id,
        }
    }
}
