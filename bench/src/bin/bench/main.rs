//! Runs the benchmark's scenarios and writes what they found.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use pointsman_bench::context::{Context, Size};
use pointsman_bench::machine::Machine;
use pointsman_bench::report::Results;
use pointsman_bench::scenario::{ALL, Scenario};
use tokio::runtime::Runtime;

/// Measures Pointsman. Each scenario that is run replaces its section of the
/// results.
#[derive(Parser)]
struct Args {
    /// Scenarios; all of them, if none is named.
    scenarios: Vec<String>,

    /// A first impression, in minutes.
    #[arg(long, conflicts_with = "tiny")]
    quick: bool,

    /// Only to see that it runs: its figures mean nothing.
    #[arg(long)]
    tiny: bool,

    /// Where the results go. By default `bench` at full size, else
    /// `target/bench`.
    #[arg(long)]
    out: Option<PathBuf>,

    /// Prints the results at the end.
    #[arg(long)]
    show: bool,

    /// Names the scenarios.
    #[arg(long)]
    list: bool,
}

impl Args {
    fn size(&self) -> Size {
        match (self.tiny, self.quick) {
            (true, _) => Size::Tiny,
            (_, true) => Size::Quick,
            _ => Size::Full,
        }
    }

    fn chosen(&self) -> Result<Vec<&'static Scenario>> {
        if self.scenarios.is_empty() {
            return Ok(ALL.iter().collect());
        }
        let find = |name: &String| {
            let found = ALL.iter().find(|scenario| scenario.name == name);
            found.with_context(|| format!("there is no scenario {name}; --list names them"))
        };
        self.scenarios.iter().map(find).collect()
    }
}

#[allow(clippy::print_stdout, reason = "for whoever is at the terminal")]
fn main() -> Result<()> {
    let args = Args::parse();
    if args.list {
        for scenario in ALL {
            println!("{:<12} {}", scenario.name, scenario.about);
        }
        return Ok(());
    }
    let chosen = args.chosen()?;
    let mut ctx = Context::new(args.size())?;
    let default = args.size().pick("target/bench", "target/bench", "bench");
    let out = args.out.unwrap_or_else(|| ctx.source.root().join(default));
    std::fs::create_dir_all(&out)?;
    let order: Vec<&str> = ALL.iter().map(|scenario| scenario.name).collect();
    let runtime = Runtime::new()?;
    for scenario in chosen {
        // Children die with the thread that started them: it must be this one.
        let section = match runtime.block_on(scenario.run(&ctx)) {
            Ok(section) => section,
            Err(error) => {
                let kept = ctx.keep().display().to_string();
                bail!("{error:?}\nThe logs are in {kept}");
            }
        };
        let mut results = Results::read(&out)?;
        results.machine = Machine::look(&ctx);
        results.put(scenario.name, &section)?;
        results.write(&out, &order)?;
    }
    let results = out.join("RESULTS.md");
    if args.show {
        println!("\n{}", std::fs::read_to_string(&results)?);
    }
    println!("{}", results.display());
    Ok(())
}
