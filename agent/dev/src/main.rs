//! The binary of `make run`: arguments, signals, exit code. All else is in the
//! library.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use pointsman_dev::{DemoArgs, DevArgs};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// `EX_USAGE` of sysexits.h.
const BAD_ARGUMENTS: u8 = 64;

/// Run everything on this machine, with two demo instances.
#[derive(Debug, Parser)]
#[command(
    name = "pointsman-dev",
    version,
    args_conflicts_with_subcommands = true
)]
struct DevCli {
    #[command(flatten)]
    dev: DevArgs,
    #[command(subcommand)]
    instead: Option<Instead>,
}

#[derive(Debug, Subcommand)]
enum Instead {
    /// Answer requests as an instance of the demo
    #[command(hide = true)]
    DemoInstance(DemoArgs),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match DevCli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { BAD_ARGUMENTS } else { 0 }.into();
        }
    };
    match run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "pointsman-dev: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: DevCli) -> anyhow::Result<()> {
    let stop = stop_token()?;
    match cli.instead {
        None => pointsman_dev::run(cli.dev, stop).await?,
        Some(Instead::DemoInstance(args)) => {
            pointsman_dev::run_demo_instance(args, stop.cancelled_owned()).await?;
        }
    }
    Ok(())
}

/// A token that SIGTERM and SIGINT cancel. The second one exits at once.
fn stop_token() -> std::io::Result<CancellationToken> {
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            let code = tokio::select! {
                _ = term.recv() => 128 + 15,
                _ = int.recv() => 128 + 2,
            };
            if token.is_cancelled() {
                std::process::exit(code);
            }
            token.cancel();
        }
    });
    Ok(stop)
}
