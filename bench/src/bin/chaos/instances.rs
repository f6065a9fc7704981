//! The apps: instances in this process that answer with their id, whether they
//! are registered or not. So a stale route is seen, and not only refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use anyhow::Result;
use axum::Router;
use axum::http::HeaderName;
use tokio::net::TcpListener;

/// The header that names the instance which answered.
pub const SERVED_BY: &str = "x-served-by";

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
pub struct Instance {
    pub app: String,
    pub id: String,
    pub addr: SocketAddr,
}

impl Instance {
    /// Its key, without the registry's prefix.
    pub fn key(&self) -> String {
        format!("instances/{}/{}", self.app, self.id)
    }
}

/// All of them.
pub struct Instances {
    /// Registered all the time.
    pub staying: Vec<Instance>,
    /// Registered and deregistered again and again.
    pub churning: Vec<Instance>,
    /// Registered in turns.
    pub probes: Vec<Instance>,
    /// The hosts under load, and their apps.
    pub hosts: BTreeMap<String, String>,
}

impl Instances {
    /// Starts them.
    pub async fn start() -> Result<Self> {
        let mut all = Self {
            staying: Vec::new(),
            churning: Vec::new(),
            probes: Vec::new(),
            hosts: BTreeMap::new(),
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
                all.staying.push(start(&app, id).await?);
            }
            for id in 0..if churns { COMING_AND_GOING } else { 0 } {
                all.churning.push(start(&app, STAYING + id).await?);
            }
        }
        for id in 0..2 {
            all.probes.push(start(PROBE_APP, id).await?);
        }
        Ok(all)
    }
}

async fn start(app: &str, number: usize) -> Result<Instance> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let instance = Instance {
        app: app.to_owned(),
        id: format!("{app}-{number}"),
        addr: listener.local_addr()?,
    };
    let header = [(HeaderName::from_static(SERVED_BY), instance.id.clone())];
    let router = Router::new().fallback(async || (header, "ok\n"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(instance)
}
