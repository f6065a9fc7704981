//! `RESULTS.md`.

use std::fmt::Write as _;

use super::{Section, Table};
use crate::machine::Machine;

/// All of it.
pub fn render(machine: &Machine, sections: &[Section]) -> String {
    let mut out = String::from(
        "# Results\n\nWritten by `make bench`, from `results.json` beside it, which has the raw \
         runs. Figures are medians of the rounds; the lowest and highest round stand in brackets \
         behind. A ratio is taken within each round.\n\n",
    );
    let versions: Vec<String> = machine
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    line(
        &mut out,
        &format!(
            "Machine: {}, {} cores, {} MiB, Linux {}. {}.\n",
            machine.cpu,
            machine.cores,
            machine.memory,
            machine.kernel,
            versions.join(", ")
        ),
    );
    aims(&mut out, sections);
    for section in sections {
        render_section(&mut out, section);
    }
    out
}

fn aims(out: &mut String, sections: &[Section]) {
    let mut table = Table::new("Aims", &["what", "aim", "measured", ""]);
    for aim in sections.iter().flat_map(|section| &section.aims) {
        let verdict = if aim.reached { "reached" } else { "**missed**" };
        let cells = [&aim.what, &aim.aim, &aim.measured];
        let mut row: Vec<String> = cells.into_iter().cloned().collect();
        row.push(verdict.to_owned());
        table.row(row);
    }
    if table.rows.len() > 1 {
        line(out, "## Aims\n");
        rows(out, &table);
    }
}

fn render_section(out: &mut String, section: &Section) {
    line(out, &format!("## {}\n", section.title));
    for paragraph in &section.text {
        line(out, &format!("{paragraph}\n"));
    }
    for table in &section.tables {
        line(out, &format!("**{}**\n", table.title));
        rows(out, table);
    }
    for chart in &section.charts {
        line(
            out,
            &format!("![{}](charts/{}.svg)\n", chart.title, chart.file),
        );
    }
    for note in &section.notes {
        line(out, &format!("{note}\n"));
    }
    let moment = &section.moment;
    let beside = moment
        .beside
        .map(|cores| format!("; other processes kept {cores:.1} cores busy meanwhile"))
        .unwrap_or_default();
    line(
        out,
        &format!(
            "*{}, commit {}, size {}, {:.0} s. Load average before: {:.1}{beside}.*\n",
            moment.date, moment.commit, section.size, moment.seconds, moment.load_before
        ),
    );
}

fn rows(out: &mut String, table: &Table) {
    for (number, row) in table.rows.iter().enumerate() {
        line(out, &format!("| {} |", row.join(" | ")));
        if number == 0 {
            line(out, &format!("|{}", "---|".repeat(row.len())));
        }
    }
    out.push('\n');
}

fn line(out: &mut String, text: &str) {
    // Writing into a string does not fail.
    let _written = writeln!(out, "{text}");
}
