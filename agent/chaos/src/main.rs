//! Real faults, one after the other, under a constant load.
//!
//! Two agents, etcd, Redis with a replica, nginx with four workers, and
//! instances that answer with their id and keep on answering when they are
//! deregistered. No request may fail that plain nginx would have answered, and
//! none may begin at an instance that was deregistered more than a second
//! before, while etcd, Redis and an agent are up. When a fault has ended, all
//! workers must come to answer as etcd has it.

#![allow(clippy::print_stdout, reason = "the table is the product")]

mod churn;
mod cluster;
mod edge;
mod facts;
mod faults;
mod instances;
mod load;
mod operator;
mod registry;
mod report;
mod sentinel;
mod stack;
mod stored;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Parser;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::runtime::Runtime;
use tokio::time::sleep;

use churn::{Churn, ChurnPace};
use edge::Edge;
use facts::Facts;
use faults::{FaultKind, Needs, Scene, Spans};
use instances::{Instances, PROBE_APP, PROBE_HOST};
use load::FaultLoad;
use registry::FactRegistry;
use report::FaultOutcome;
use stack::{ChaosStack, EdgeReads, Shape};

/// Injects real faults under load, and looks for what they do to requests.
#[derive(Parser)]
struct Args {
    /// Repeats the choices of a run, not its timing.
    #[arg(long, env = "CHAOS_SEED")]
    seed: Option<u64>,

    /// Each fault for a moment only.
    #[arg(long)]
    short: bool,

    /// How long each fault lasts.
    #[arg(long, default_value_t = 10)]
    seconds: u64,

    /// Only faults whose names hold this.
    #[arg(long, default_value = "")]
    only: String,

    /// Nodes of etcd for all faults; otherwise one, and three for the faults
    /// that need them.
    #[arg(long)]
    etcd_nodes: Option<usize>,

    /// Which Redis the edge reads.
    #[arg(long, value_enum, default_value = "primary")]
    edge_reads: EdgeReads,
}

/// All is right so long after a fault, at the latest.
const SETTLE: Duration = Duration::from_secs(20);
/// Agents compare all of Redis once a minute.
const RECONCILED: Duration = Duration::from_secs(90);
const MINUTE: Duration = Duration::from_secs(60);

/// So many nodes of etcd outlive one of them.
const CLUSTER: usize = 3;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    // Children die with the thread that started them: it must be this one.
    Runtime::new()?.block_on(run(&args))
}

async fn run(args: &Args) -> Result<ExitCode> {
    let begin = Instant::now();
    let seed = args.seed.unwrap_or_else(rand::random);
    let chosen = |needs: &[Needs]| -> Vec<FaultKind> {
        let faults = FaultKind::ALL.into_iter();
        faults
            .filter(|fault| fault.name().contains(&args.only) && needs.contains(&fault.needs()))
            .collect()
    };
    let shape = |etcd_nodes, with_guards| Shape {
        etcd_nodes,
        edge_reads: args.edge_reads,
        with_guards,
        reconcile: if args.short { 3 } else { 60 },
    };
    let single = [Needs::Nothing, Needs::OneNode];
    let passes = match args.etcd_nodes {
        None => vec![
            (shape(1, false), chosen(&single)),
            (shape(CLUSTER, false), chosen(&[Needs::Cluster])),
            (shape(1, true), chosen(&[Needs::Guards])),
        ],
        Some(1) => vec![(shape(1, false), chosen(&single))],
        Some(nodes) => vec![(
            shape(nodes, false),
            chosen(&[Needs::Nothing, Needs::Cluster]),
        )],
    };
    println!("chaos: CHAOS_SEED={seed}\n\n{}", FaultOutcome::head());
    let mut violations = Vec::new();
    let mut logs = Vec::new();
    for (shape, faults) in passes {
        if faults.is_empty() {
            continue;
        }
        let mut chaos = Box::pin(Chaos::start(args, shape, seed)).await?;
        let before = violations.len();
        for fault in faults {
            let outcome = match chaos.inject(fault).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    println!("logs: {}", chaos.stack.keep_logs().display());
                    return Err(error.context(fault.name()));
                }
            };
            println!("{}", outcome.row());
            let of_it = outcome.violations().into_iter();
            violations.extend(of_it.map(|what| format!("{}: {what}", fault.name())));
        }
        if violations.len() > before {
            logs.push(chaos.stack.keep_logs());
        }
    }
    println!("\nall in {} s, seed {seed}", begin.elapsed().as_secs());
    if violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("violations:\n  {}", violations.join("\n  "));
    for dir in logs {
        println!("logs: {}", dir.display());
    }
    Ok(ExitCode::FAILURE)
}

/// Everything that runs.
struct Chaos {
    load: FaultLoad,
    churn: Churn,
    edge: Edge,
    registry: FactRegistry,
    facts: Arc<Facts>,
    instances: Instances,
    stack: ChaosStack,
    random: StdRng,
    /// How long a fault lasts, and how long it is looked at afterwards.
    spans: Spans,
    after: Duration,
    /// Looks so far.
    looks: usize,
}

impl Chaos {
    async fn start(args: &Args, shape: Shape, seed: u64) -> Result<Self> {
        let stack = ChaosStack::start(shape).await?;
        let facts = Arc::new(Facts::new());
        let registry = FactRegistry::connect(&stack.etcd.urls(), stack.login(), &facts).await;
        let instances = Instances::start().await;
        for instance in instances.staying.iter().chain(&instances.churning) {
            registry.register(instance).await;
        }
        registry.register(&instances.probes[0]).await;
        for (host, app) in &instances.hosts {
            registry.bind(host, app).await;
        }
        registry.bind(PROBE_HOST, PROBE_APP).await;
        let mut edge = Edge::new(stack.nginx.edge());
        edge.right(&registry, &instances.hosts, SETTLE).await?;
        let load = FaultLoad::start(stack.nginx.edge(), &instances.hosts, &facts, seed);
        let churn = Churn::start(registry.clone(), instances.churning.clone(), seed);
        let spans = if args.short {
            Spans {
                lasting: Duration::from_millis(700),
                long: Duration::from_secs(3),
                is_short: true,
            }
        } else {
            Spans {
                lasting: Duration::from_secs(args.seconds),
                long: MINUTE,
                is_short: false,
            }
        };
        // Stale answers count from a second after all is whole.
        let after = Duration::from_millis(if args.short { 1_100 } else { 4_000 });
        Ok(Self {
            load,
            churn,
            edge,
            registry,
            facts,
            instances,
            stack,
            random: StdRng::seed_from_u64(seed),
            spans,
            after,
            looks: 0,
        })
    }

    /// Injects a fault and looks at what comes of it.
    async fn inject(&mut self, fault: FaultKind) -> Result<FaultOutcome> {
        let before = self.churn.still().await?;
        self.load.take();
        self.churn.set(ChurnPace::Normal);
        let mut scene = Scene {
            stack: &mut self.stack,
            churn: &mut self.churn,
            registry: &self.registry,
            instances: &self.instances,
            facts: &self.facts,
            random: &mut self.random,
            spans: self.spans,
        };
        fault.strike(&mut scene).await?;
        let mut right_after = self.becomes_right().await?;
        self.facts.whole();
        self.churn.set(ChurnPace::Normal);
        sleep(self.after).await;
        // What came afterwards must arrive as well.
        let again = self.becomes_right().await?;
        if right_after.is_ok() && again.is_err() {
            right_after = again;
        }
        self.stack.ready().await?;
        let redis = self.stack.primary_url();
        let limit = if fault.mends_slowly() {
            RECONCILED
        } else {
            SETTLE
        };
        if let Err(wrong) = stored::in_step(&self.registry.keys, &redis, limit).await {
            right_after = right_after.and(Err(wrong));
        }
        let changes = self.churn.still().await? - before;
        Ok(FaultOutcome {
            fault,
            tally: self.load.take(),
            changes,
            right_after,
        })
    }

    /// Halts the churn, makes one change of each kind, and waits until all
    /// workers show them and all else that etcd has; answers how long that took
    /// from when etcd had the changes. (An etcd that lost its leader holds a put
    /// for seconds; that is not the edge's time.)
    async fn becomes_right(&mut self) -> Result<Result<Duration, String>> {
        self.churn.still().await?;
        self.looks += 1;
        let probes = &self.instances.probes;
        let (next, last) = (self.looks % 2, (self.looks + 1) % 2);
        self.registry.register(&probes[next]).await;
        self.registry.deregister(&probes[last]).await;
        let fresh = format!("fresh-{}.example", self.looks);
        self.registry.bind(&fresh, PROBE_APP).await;
        let changed = Instant::now();

        let mut hosts = self.instances.hosts.clone();
        hosts.insert(PROBE_HOST.to_owned(), PROBE_APP.to_owned());
        hosts.insert(fresh, PROBE_APP.to_owned());
        let right = self.edge.right(&self.registry, &hosts, SETTLE).await;
        Ok(right
            .map(|at| at.saturating_duration_since(changed))
            .map_err(|timed_out| timed_out.to_string()))
    }
}
