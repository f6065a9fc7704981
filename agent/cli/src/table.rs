//! Tables for people, and their colours.

/// Colours, where they are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Painter(bool);

const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";

impl Painter {
    pub(crate) fn new(wanted: bool) -> Self {
        Self(wanted)
    }

    /// A line of a difference: what goes, what comes, and what stays.
    pub(crate) fn change(self, sign: char, line: &str) -> String {
        match sign {
            '-' => self.paint(RED, line),
            '+' => self.paint(GREEN, line),
            '~' => self.paint(YELLOW, line),
            _ => line.to_owned(),
        }
    }

    /// A cell with a state in it, perhaps padded.
    fn state(self, cell: &str) -> String {
        let colour = match cell.trim_end() {
            "" | "-" => return cell.to_owned(),
            "live" | "yes" => GREEN,
            "missing" | "unhealthy" | "bad" | "shadowed" | "not_allowed" | "ejected" => RED,
            _ => YELLOW,
        };
        self.paint(colour, cell)
    }

    fn paint(self, colour: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{colour}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Columns that are as wide as they must be; nothing stands behind the last
/// cell of a row. A column `STATE` has colours.
pub(crate) fn columns<const N: usize>(
    paint: Painter,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let states = header.map(|name| name == "STATE");
    let header = header.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(header).chain(rows).collect();
    let widths: [usize; N] = std::array::from_fn(|at| {
        let cells = rows.iter().map(|row| row[at].chars().count());
        cells.max().unwrap_or_default()
    });
    let lines = rows.iter().enumerate().map(|(n, row)| {
        let filled = row.iter().rposition(|cell| !cell.is_empty());
        let filled = filled.map_or(0, |last| last + 1);
        let cells = row.iter().zip(widths).zip(states).take(filled);
        let cells = cells.enumerate().map(|(at, ((cell, width), state))| {
            let cell = match at + 1 == filled {
                true => cell.clone(),
                false => format!("{cell:<width$}"),
            };
            match state && n > 0 {
                true => paint.state(&cell),
                false => cell,
            }
        });
        cells.collect::<Vec<_>>().join("  ") + "\n"
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_has_a_colour_and_no_other_cell() {
        let row = ["live", "live"].map(str::to_owned);
        let table = |wanted| {
            let rows = std::iter::once(row.clone());
            columns(Painter::new(wanted), ["APP", "STATE"], rows)
        };
        assert_eq!(table(false), "APP   STATE\nlive  live\n");
        assert_eq!(table(true), "APP   STATE\nlive  \x1b[32mlive\x1b[0m\n");
    }
}
