//! How long a change takes from etcd to the requests that it is about.
//!
//! An instance is put into etcd and deleted again, and every nginx worker is
//! asked over a kept connection until all of them show it: the last one counts.
//! Beside it stands the bare `put → watch` of the same etcd, in the same run
//! and with the same spacing.

#![allow(clippy::print_stdout, reason = "the table is the product")]

mod changes;
mod figures;
mod poller;
mod stack;

use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use tokio::runtime::Runtime;

use changes::Bench;
use figures::Table;
use stack::Stack;

/// Measures the time from an etcd change to the request that shows it.
#[derive(Parser)]
struct Args {
    /// Changes of each kind and spacing.
    #[arg(long, default_value_t = 200)]
    changes: usize,

    /// nginx workers.
    #[arg(long, default_value_t = 4)]
    workers: usize,

    /// Agents.
    #[arg(long, default_value_t = 1)]
    agents: usize,

    /// Other routes in the table, each to an app with an instance.
    #[arg(long, default_value_t = 1000)]
    routes: usize,
}

/// Pauses between a change that was seen and the next one.
const SPACINGS: [(&str, Duration); 2] = [
    ("back to back", Duration::ZERO),
    ("50 ms apart", Duration::from_millis(50)),
];

/// Changes before the first one that counts.
const WARM_UP: usize = 20;

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = Runtime::new()?;
    // Children die with the thread that started them: it must be this one.
    let stack = runtime.block_on(Stack::start(args.agents, args.workers, args.routes))?;
    let mut bench = Bench::new(&runtime, &stack)?;
    bench.run(WARM_UP, Duration::ZERO)?;

    println!(
        "{} changes of each kind; {} nginx workers, the last one counts; {} agent(s); \
         {} other routes; milliseconds\n",
        args.changes, args.workers, args.agents, args.routes
    );
    let mut table = Table::new();
    for (name, pause) in SPACINGS {
        let measured = bench.run(args.changes, pause)?;
        table.section(name);
        table.base("bare put -> watch", &measured.bare);
        table.row("put -> watch of the instance", &measured.watched);
        table.row("add: put -> last worker", &measured.added);
        table.row("remove: delete -> last worker", &measured.removed);
    }
    println!("{table}");
    println!(
        "Aim: at most bare + 1 ms in the median and bare + 3 ms at p99. A worker is asked about \
         every {} us.",
        poller::PAUSE.as_micros()
    );
    drop(bench);
    runtime.block_on(stack.stop());
    Ok(())
}
