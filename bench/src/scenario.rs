//! The scenarios, in the order of the report.

use std::pin::Pin;

use anyhow::{Context as _, Result};

use crate::context::Context;
use crate::cpu;
use crate::machine::{Busy, Moment};
use crate::report::Section;

mod cold_sync;
mod cost;
mod edges;
mod growth;
mod instances;
mod memory;
mod misses;
mod propagation;
mod storms;

/// A scenario that is under way. It stays on its thread: child processes die
/// with the thread that started them.
type Run<'a> = Pin<Box<dyn Future<Output = Result<Section>> + 'a>>;

/// A scenario.
pub struct Scenario {
    /// Its name on the command line and in the results.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    run: for<'a> fn(&'a Context) -> Run<'a>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "cost",
        about: "what a request costs, beside plain nginx and other proxies",
        run: |ctx| Box::pin(cost::run(ctx)),
    },
    Scenario {
        name: "growth",
        about: "what it costs with up to a million hosts, and the pauses then",
        run: |ctx| Box::pin(growth::run(ctx)),
    },
    Scenario {
        name: "instances",
        about: "what it costs with up to 1,000 instances of an app",
        run: |ctx| Box::pin(instances::run(ctx)),
    },
    Scenario {
        name: "propagation",
        about: "how long a change takes from etcd to the last worker",
        run: |ctx| Box::pin(propagation::run(ctx)),
    },
    Scenario {
        name: "edges",
        about: "how soon a wait is answered, and what a thousand reporting edges cost an agent",
        run: |ctx| Box::pin(edges::run(ctx)),
    },
    Scenario {
        name: "cold_sync",
        about: "how fast an empty Redis is filled, and what that does to requests",
        run: |ctx| Box::pin(cold_sync::run(ctx)),
    },
    Scenario {
        name: "memory",
        about: "what hosts and instances cost at the agent, in Redis and at the edge",
        run: |ctx| Box::pin(memory::run(ctx)),
    },
    Scenario {
        name: "misses",
        about: "hosts that are not cached: one by one, crowds, floods of unknown ones",
        run: |ctx| Box::pin(misses::run(ctx)),
    },
    Scenario {
        name: "storms",
        about: "changes as fast as etcd takes them",
        run: |ctx| Box::pin(storms::run(ctx)),
    },
];

impl Scenario {
    /// Runs it.
    pub async fn run(&self, ctx: &Context) -> Result<Section> {
        ctx.say(&format!("{}: {}", self.name, self.about));
        let begin = ctx.elapsed();
        let (mut moment, busy) = (Moment::now(ctx), Busy::now()?);
        let mut section = (self.run)(ctx)
            .await
            .with_context(|| format!("the scenario {} broke off", self.name))?;
        // It may have left cores to what it measured.
        cpu::pin_own(&cpu::all(&ctx.cores))?;
        moment.seconds = (ctx.elapsed() - begin).as_secs_f64();
        moment.beside = Some(Busy::now()?.beside(busy, moment.seconds));
        section.moment = moment;
        section.size = ctx.size.name().to_owned();
        Ok(section)
    }
}
