//! Whether a request has become dearer than the committed figures allow.
//!
//! Machines differ a little: by what the CPU offers to LuaJIT and OpenSSL, and
//! by versions. Plain nginx, counted in the same run, tells by how much. So
//! Pointsman's figures are compared after the committed ones were scaled by
//! plain nginx's, then and now. Directives that both have cannot hide in that
//! scale: plain nginx itself must keep to its committed figure, unless its
//! version is another one.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::conf::Variant;
use crate::figures::Report;

/// How much more is allowed.
const SHARE: f64 = 0.05;

/// Compares with a committed file; says what it has seen.
pub fn check(report: &Report, path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let committed: Value = serde_json::from_str(&text)?;
    let was = |variant: Variant, figure: &str| {
        committed["variants"][variant.key()][figure]
            .as_f64()
            .with_context(|| format!("{} has no {figure} of {}", path.display(), variant.key()))
    };
    let is = |figure: Option<f64>| figure.context("a variant was not counted");
    let plain = is(report.of(Variant::Plain))?;
    let same_nginx = committed["nginx"] == *report.nginx();
    let scale = plain / was(Variant::Plain, "instructions")?;

    let mut lines = Vec::new();
    let mut over = 0;
    let mut compare = |what: &str, now: f64, then: f64, holds: bool| {
        let grown = now / then - 1.0;
        let bad = holds && grown > SHARE;
        over += usize::from(bad);
        lines.push(format!(
            "{what}: {now:.0}, committed {then:.0} ({:+.1} %){}",
            grown * 100.0,
            if bad { ", MORE THAN 5 %" } else { "" }
        ));
    };
    compare("plain nginx", plain, plain / scale, same_nginx);
    compare(
        "Pointsman",
        is(report.of(Variant::Pointsman))?,
        was(Variant::Pointsman, "instructions")? * scale,
        true,
    );
    compare(
        "Pointsman beyond plain nginx",
        is(report.beyond_plain(Variant::Pointsman))?,
        was(Variant::Pointsman, "beyond_plain")? * scale,
        true,
    );
    let lines = lines.join("\n");
    if over > 0 {
        bail!(
            "a request has become dearer:\n{lines}\nIf that is meant, `make \
             bench-instructions-renew` commits to the new figures."
        );
    }
    Ok(lines)
}
