//! What a fault may touch, and for how long.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_harness::{http, wait};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::churn::Churn;
use crate::facts::Facts;
use crate::instances::{Instances, PROBE_APP};
use crate::registry::FactRegistry;
use crate::stack::ChaosStack;

/// How long faults last.
#[derive(Clone, Copy)]
pub struct Spans {
    /// The fault itself.
    pub lasting: Duration,
    /// The same of those that last for long.
    pub long: Duration,
    /// Then what is silent speaks again before agents have given it up, and
    /// nothing is written while etcd has no leader: it would hold a write for
    /// seven seconds.
    pub is_short: bool,
}

/// How many milliseconds late answers are; and so late that calls are given up.
pub const LATE_ANSWERS: Range<u64> = 500..2_000;
pub const VERY_LATE_ANSWERS: Range<u64> = 2_000..5_000;
/// A change takes no longer though answers are late: a watch is opened by some
/// calls, one after the other, with tries at other members.
const ARRIVES: Duration = Duration::from_secs(30);

/// What a fault may touch.
pub struct Scene<'a> {
    pub stack: &'a mut ChaosStack,
    pub churn: &'a mut Churn,
    pub registry: &'a FactRegistry,
    pub instances: &'a Instances,
    pub facts: &'a Facts,
    pub random: &'a mut StdRng,
    pub spans: Spans,
}

impl Scene<'_> {
    pub fn some_agent(&mut self) -> usize {
        self.random.random_range(0..self.stack.agents.len())
    }

    pub fn some_member(&mut self) -> usize {
        self.random.random_range(0..self.stack.etcd.len())
    }

    /// How late answers are.
    pub fn late(&mut self, between: Range<u64>) -> Duration {
        Duration::from_millis(self.random.random_range(between))
    }

    /// Waits until a change has arrived at the edge.
    pub async fn changes_arrive(&mut self) -> Result<()> {
        let host = format!("late-{}.example", self.random.random::<u32>());
        self.registry.bind(&host, PROBE_APP).await;
        let edge = self.stack.nginx.edge();
        let arrives = wait::until("a change arrives", ARRIVES, async || {
            let answer = http::get(edge, &host, "/").await;
            let status = answer.map_err(|error| error.to_string())?.status;
            if status.is_success() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
        arrives.await.context("while answers were late")
    }

    /// A member of etcd that does not lead.
    pub async fn some_follower(&mut self) -> Result<usize> {
        let leader = self.stack.etcd.leader().await?;
        let members = self.stack.etcd.len();
        Ok((leader + self.random.random_range(1..members)) % members)
    }
}
