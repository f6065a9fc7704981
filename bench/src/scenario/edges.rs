//! What agents do with the reports of edges: how soon after the last of two edges
//! a wait is answered, and what a thousand reporting edges cost an agent.

use anyhow::Result;
use serde_json::json;

use crate::context::Context;
use crate::report::{Aim, Section, Table};
use crate::stats::{self, Spread};

mod crowd;
mod waits;

/// Milliseconds from the last worker that shows a change to the answer of a wait.
const WAIT_AIM: f64 = 10.0;
/// Of a core, in percent.
const CPU_AIM: f64 = 5.0;

/// Runs it.
pub async fn run(ctx: &Context) -> Result<Section> {
    let waits = Box::pin(waits::run(ctx)).await?;
    let crowd = Box::pin(crowd::run(ctx)).await?;
    let behind = stats::median(&waits.behind);
    let busy = crowd.changing.spread();
    Ok(Section {
        title: "Edges that report".to_owned(),
        text: vec![
            format!(
                "Two edges of {} workers each, {} changes: an instance is put into etcd or deleted, and \
                 `GET /v1/wait` is called with the revision as soon as etcd has answered. All workers \
                 are asked meanwhile until the last one shows the change.",
                waits::WORKERS,
                waits.behind.len()
            ),
            format!(
                "{} edges' reports are written to Redis as edges do it (HGET, HSET, PEXPIRE, PUBLISH), \
                 each every 2 s, spread evenly; *with changes*, an instance changes each second, and \
                 each edge reports that within {} ms, too. The CPU time is that of the agent, in {} \
                 rounds of {} s by turns. The agent lists all of them as live at the end of each.",
                crowd.edges,
                crowd::CHANGE.as_millis(),
                crowd.changing.percent.len(),
                crowd.seconds
            ),
        ],
        aims: vec![
            Aim {
                what: "a wait's answer, after the last of two edges".to_owned(),
                aim: format!("median ≤ {WAIT_AIM:.0} ms"),
                measured: format!("{behind:.1} ms"),
                reached: behind <= WAIT_AIM,
            },
            Aim {
                what: format!(
                    "CPU of an agent, {} reporting edges, with changes",
                    crowd.edges
                ),
                aim: format!("< {CPU_AIM:.0} % of a core"),
                measured: format!("{} %", busy.show(1)),
                reached: busy.median < CPU_AIM,
            },
        ],
        tables: vec![waits_table(&waits), crowd_table(&crowd)],
        raw: json!({ "waits": waits, "crowd": crowd }),
        ..Section::default()
    })
}

fn waits_table(waits: &waits::Waits) -> Table {
    let mut table = Table::new("Milliseconds", &["", "median", "p90", "p99", "worst"]);
    for (name, times) in [
        (
            "from etcd's answer until the last worker shows it",
            &waits.applied,
        ),
        ("from etcd's answer to the wait's", &waits.answered),
        ("from the last worker to the wait's answer", &waits.behind),
    ] {
        let mut row = vec![name.to_owned()];
        let shares = [0.5, 0.9, 0.99, 1.0].into_iter();
        row.extend(shares.map(|share| format!("{:.1}", stats::percentile(times, share))));
        table.row(row);
    }
    table
}

fn crowd_table(crowd: &crowd::Crowd) -> Table {
    let mut table = Table::new("CPU of an agent", &["", "% of a core", "reports a second"]);
    for (name, costs) in [
        ("no edge".to_owned(), &crowd.alone),
        (format!("{} edges", crowd.edges), &crowd.resting),
        (
            format!("{} edges, with changes", crowd.edges),
            &crowd.changing,
        ),
    ] {
        let reports = Spread::of(&costs.reports);
        table.row(vec![
            name,
            costs.spread().show(1),
            format!("{:.0}", reports.median),
        ]);
    }
    table
}
