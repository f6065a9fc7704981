//! Random changes of the registry, by a seed.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use crate::WRITERS;
use pointsman_harness::registry::Registry;

/// Apps of one round.
const APPS: u64 = 8;
const IDS: u64 = 12;
/// Quick changes of one host in a storm.
const TOGGLES: usize = 4;
/// Leases in use at a time, for each writer.
const LEASES: usize = 20;

/// Route keys: exact ones, wildcards over them, and the widest ones.
pub static HOSTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut hosts: Vec<String> = vec!["*".to_owned(), "*.example".to_owned()];
    for number in 0..12 {
        hosts.push(format!("h{number}.example"));
        hosts.push(format!("*.h{number}.example"));
        hosts.push(format!("www.h{number}.example"));
    }
    hosts.push("127.0.0.9".to_owned());
    hosts.push("[::1]".to_owned());
    hosts
});

/// One that makes changes.
pub struct Changer {
    registry: Registry,
    addrs: Vec<SocketAddr>,
    random: StdRng,
    leases: Vec<i64>,
    number: usize,
    round: u64,
    hot: Arc<Hot>,
}

/// The host that each writer changes just now, for the load to ask for.
#[derive(Default)]
pub struct Hot([AtomicUsize; WRITERS]);

impl Hot {
    pub fn host(&self, turn: usize) -> String {
        HOSTS[self.0[turn % WRITERS].load(Ordering::Relaxed)].clone()
    }
}

impl Changer {
    pub fn new(
        registry: Registry,
        addrs: &[SocketAddr],
        seed: u64,
        number: usize,
        hot: Arc<Hot>,
    ) -> Self {
        Self {
            registry,
            addrs: addrs.to_vec(),
            random: StdRng::seed_from_u64(seed ^ ((number as u64) << 32)),
            leases: Vec::new(),
            number,
            round: 0,
            hot,
        }
    }

    /// Random changes, then storms on single hosts, in so many changes.
    pub async fn round(&mut self, round: u64, changes: usize) {
        self.round = round;
        let stormy = changes / 4;
        for _ in stormy..changes {
            self.change().await;
        }
        for _ in 0..stormy / TOGGLES {
            self.storm().await;
        }
    }

    /// A host that comes and goes faster than a worker can ask for it.
    async fn storm(&mut self) {
        let at = self.random.random_range(0..HOSTS.len());
        self.hot.0[self.number].store(at, Ordering::Relaxed);
        let mut put = self.random.random_bool(0.5);
        for _ in 0..TOGGLES {
            if put {
                let app = self.app();
                self.registry.put_route(&HOSTS[at], &app).await;
            } else {
                self.registry.delete(&format!("routes/{}", HOSTS[at])).await;
            }
            put = !put;
        }
    }

    /// One change.
    pub async fn change(&mut self) {
        match self.random.random_range(0..1000) {
            0..350 => self.put_instance().await,
            350..560 => {
                let key = self.instance_key();
                self.registry.delete(&key).await;
            }
            560..700 => self.put_leased_instance().await,
            700..730 => self.revoke().await,
            730..840 => {
                let (host, app) = (self.host(), self.app());
                self.registry.put_route(&host, &app).await;
            }
            840..920 => {
                let host = self.host();
                self.registry.delete(&format!("routes/{host}")).await;
            }
            920..940 => self.put_policy().await,
            940..950 => {
                let app = self.app();
                self.registry.delete(&format!("apps/{app}")).await;
            }
            950..965 => self.put_bad().await,
            965..985 => self.transaction().await,
            985..990 => {
                let app = self.app();
                self.registry
                    .delete_prefix(&format!("instances/{app}/"))
                    .await;
            }
            _ => self.compact().await,
        }
    }

    /// Each round has apps of its own, which no worker has cached.
    fn app(&mut self) -> String {
        format!("app-{}-{}", self.round, self.random.random_range(0..APPS))
    }

    fn host(&mut self) -> String {
        HOSTS.choose(&mut self.random).cloned().unwrap_or_default()
    }

    fn instance_key(&mut self) -> String {
        let app = self.app();
        format!("instances/{app}/i{}", self.random.random_range(0..IDS))
    }

    /// Addresses are few: instances fight for them.
    fn instance(&mut self) -> String {
        let addr = self.addrs[self.random.random_range(0..self.addrs.len())];
        match self.random.random_range(0..10) {
            0..5 => addr.to_string(),
            5 => format!(r#"{{"addr":"{addr}","weight":0}}"#),
            6 => format!(r#"{{"addr":"{addr}","weight":50,"zone":"a"}}"#),
            7 => format!(r#"{{"addr":"{addr}","shared":true}}"#),
            _ => format!(r#"{{"addr":"{addr}","weight":100}}"#),
        }
    }

    async fn put_instance(&mut self) {
        let (key, value) = (self.instance_key(), self.instance());
        self.registry.put(&key, value).await;
    }

    async fn put_leased_instance(&mut self) {
        if self.leases.len() < LEASES {
            let ttl = self.random.random_range(1..4);
            self.leases.push(self.registry.grant(ttl).await);
        }
        let at = self.random.random_range(0..self.leases.len());
        let lease = self.leases[at];
        let (key, value) = (self.instance_key(), self.instance());
        if self
            .registry
            .try_put(&key, value, Some(lease))
            .await
            .is_err()
        {
            // It has run out.
            self.leases.swap_remove(at);
        }
    }

    async fn revoke(&mut self) {
        if let Some(lease) = self.leases.pop() {
            // It may have run out.
            let _gone = self.registry.try_revoke(lease).await;
        }
    }

    async fn put_policy(&mut self) {
        let app = self.app();
        let retries = self.random.random_range(0..4);
        self.registry
            .put(
                &format!("apps/{app}"),
                format!(r#"{{"retries":{retries}}}"#),
            )
            .await;
    }

    async fn put_bad(&mut self) {
        let key = match self.random.random_range(0..4) {
            0 => format!("routes/{}", self.host()),
            1 => format!("apps/{}", self.app()),
            2 => format!("routes/UPPER-{}.example", self.number),
            _ => self.instance_key(),
        };
        self.registry.put(&key, "{\"no\": such}").await;
    }

    /// Several keys in one revision.
    async fn transaction(&mut self) {
        let mut puts = Vec::new();
        for _ in 0..self.random.random_range(2..12) {
            let (key, value) = (self.instance_key(), self.instance());
            // etcd takes no key twice.
            if !puts.iter().any(|(other, _)| *other == key) {
                puts.push((key, value));
            }
        }
        let delete = format!("routes/{}", self.host());
        self.registry.transaction(&puts, &delete).await;
    }

    async fn compact(&mut self) {
        let revision = self.registry.revision().await;
        // Two writers may ask for the same one.
        let _compacted = self.registry.compact(revision).await;
    }
}
