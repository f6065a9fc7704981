//! What a fault may touch, and for how long.

use std::time::Duration;

use anyhow::Result;
use rand::RngExt;
use rand::rngs::StdRng;

use crate::churn::Churn;
use crate::facts::Facts;
use crate::instances::Instances;
use crate::registry::Registry;
use crate::stack::Stack;

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

/// What a fault may touch.
pub struct Scene<'a> {
    pub stack: &'a mut Stack,
    pub churn: &'a mut Churn,
    pub registry: &'a Registry,
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

    /// A member of etcd that does not lead.
    pub async fn some_follower(&mut self) -> Result<usize> {
        let leader = self.stack.etcd.leader().await?;
        let members = self.stack.etcd.len();
        Ok((leader + self.random.random_range(1..members)) % members)
    }
}
