//! User-space instructions a request: Pointsman's beside those of plain nginx
//! with the same proxy directives, counted by callgrind.
//!
//! Timing on a busy machine cannot tell 5 % apart; counting can. nginx runs as
//! one process under valgrind, the rest natively. It warms up, until LuaJIT has
//! compiled what a request runs; then some windows of as many requests each are
//! counted, one at a time over one connection. The least window is what a
//! request runs itself. What comes only now and then makes the difference to
//! the mean: LuaJIT's collector, and timers (whose share depends on how fast the
//! machine runs valgrind).

#![allow(clippy::print_stdout, reason = "the table is the product")]

mod backend;
mod callgrind;
mod conf;
mod figures;
mod limit;
mod profile;
mod run;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Parser;
use tokio::runtime::Runtime;

use backend::Backend;
use conf::Variant;
use figures::Report;
use run::Plan;

/// Counts the user-space instructions of a request.
#[derive(Parser)]
struct Args {
    /// Requests before the first window that counts.
    #[arg(long, default_value_t = 2000)]
    warm_up: usize,

    /// Requests of a window.
    #[arg(long, default_value_t = 200)]
    requests: usize,

    /// Windows; the least counts.
    #[arg(long, default_value_t = 30)]
    windows: usize,

    /// Instances of the app, and servers of plain nginx's upstream.
    #[arg(long, default_value_t = 2)]
    instances: usize,

    /// Only these variants, beside plain nginx.
    #[arg(long, value_enum)]
    only: Vec<Variant>,

    /// Counts misses of the first-level caches as well, simulated ones of 16
    /// KiB each; takes twice as long.
    #[arg(long)]
    cache: bool,

    /// Writes the figures there, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,

    /// Fails if a figure is more than 5 % over the one of this JSON file.
    #[arg(long)]
    limit: Option<PathBuf>,

    /// Keeps callgrind's files and the logs in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

/// Runs until one keeps within the limit.
const TRIES: usize = 3;

fn main() -> Result<()> {
    let args = Args::parse();
    ensure!(args.windows > 0 && args.requests > 0 && args.instances > 0);
    let runtime = Runtime::new()?;
    let dir = tempfile::Builder::new()
        .prefix("pointsman-instructions-")
        .tempdir()?;
    let root = match &args.keep {
        Some(keep) => std::path::absolute(keep)?,
        None => dir.path().to_owned(),
    };
    let plan = Plan {
        warm_up: args.warm_up,
        requests: args.requests,
        windows: args.windows,
        cache: args.cache,
    };
    // Children die with the thread that started them: it must be this one.
    let mut report = runtime.block_on(measure(&args, &root, plan))?;
    println!("{report}");
    if let Some(path) = &args.json {
        std::fs::write(path, report.to_json()?)?;
    }
    if let Some(path) = &args.limit {
        let mut verdict = limit::check(&report, path);
        // LuaJIT does not choose the same traces each time.
        for _ in 1..TRIES {
            if verdict.is_ok() {
                break;
            }
            println!("over the limit; once more");
            report = runtime.block_on(measure(&args, &root, plan))?;
            verdict = limit::check(&report, path);
        }
        println!("\n{}", verdict?);
    }
    Ok(())
}

async fn measure(args: &Args, root: &std::path::Path, plan: Plan) -> Result<Report> {
    let backend = Backend::start(root, args.instances).await?;
    let mut report = Report::new(&backend.nginx_version, plan, args.instances);
    for variant in Variant::ALL {
        let wanted = args.only.is_empty() || args.only.contains(&variant);
        if variant == Variant::Plain || wanted {
            report.add(variant, run::count(&backend, root, variant, plan).await?);
        }
    }
    backend.stop().await;
    Ok(report)
}
