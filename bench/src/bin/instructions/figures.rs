//! The table and the JSON.

use std::fmt;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::conf::Variant;
use crate::run::{Count, Plan};

/// The parts of the program that the table shows.
const PARTS: [&str; 6] = [
    "nginx",
    "libc",
    "libcrypto",
    "ngx_http_lua_module",
    "libluajit",
    "machine code",
];

/// All that was counted.
pub struct Report {
    nginx: String,
    plan: Plan,
    instances: usize,
    rows: Vec<(Variant, Count)>,
}

impl Report {
    pub fn new(nginx: &str, plan: Plan, instances: usize) -> Self {
        Self {
            nginx: nginx.to_owned(),
            plan,
            instances,
            rows: Vec::new(),
        }
    }

    pub fn add(&mut self, variant: Variant, count: Count) {
        self.rows.push((variant, count));
    }

    /// The version of nginx.
    pub fn nginx(&self) -> &str {
        &self.nginx
    }

    /// Instructions a request.
    pub fn of(&self, variant: Variant) -> Option<f64> {
        let (_, count) = self.rows.iter().find(|(one, _)| *one == variant)?;
        Some(least(&count.windows))
    }

    /// The same beyond plain nginx.
    pub fn beyond_plain(&self, variant: Variant) -> Option<f64> {
        Some(self.of(variant)? - self.of(Variant::Plain)?)
    }

    /// Misses of the first-level caches a request, in the least window.
    fn misses(&self, count: &Count) -> f64 {
        count.least.misses as f64 / self.plan.requests as f64
    }

    /// For a file.
    pub fn to_json(&self) -> Result<String> {
        let plain = self.of(Variant::Plain).context("plain nginx is missing")?;
        let mut variants = serde_json::Map::new();
        for (variant, count) in &self.rows {
            let least = least(&count.windows);
            let windows: Vec<_> = count.windows.iter().map(|one| one.round()).collect();
            let row = json!({
                "instructions": least.round(),
                "beyond_plain": (least - plain).round(),
                "mean": mean(&count.windows).round(),
                "windows": windows,
            });
            variants.insert(variant.key().to_owned(), row);
        }
        let all: Value = json!({
            "nginx": self.nginx,
            "arch": std::env::consts::ARCH,
            "instances": self.instances,
            "warm_up": self.plan.warm_up,
            "requests": self.plan.requests,
            "variants": variants,
        });
        Ok(format!("{all:#}\n"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}; {} instances; user-space instructions a request, {} windows of {} \
             requests after {}\n",
            self.nginx, self.instances, self.plan.windows, self.plan.requests, self.plan.warm_up
        )?;
        write!(
            f,
            "{:<38} {:>8} {:>13} {:>8} {:>8}",
            "", "least", "beyond plain", "spread", "mean"
        )?;
        if self.plan.cache {
            write!(f, " {:>8} {:>13}", "misses", "beyond plain")?;
        }
        writeln!(f)?;
        for (variant, count) in &self.rows {
            write!(
                f,
                "{variant:<38} {:>8.0} {:>+13.0} {:>6.2} % {:>8.0}",
                least(&count.windows),
                self.beyond_plain(*variant).unwrap_or_default(),
                spread(&count.windows) * 100.0,
                mean(&count.windows),
            )?;
            if self.plan.cache {
                let misses = self.misses(count);
                let plain = self.rows.first().map(|(_, count)| self.misses(count));
                let beyond = misses - plain.unwrap_or_default();
                write!(f, " {misses:>8.0} {beyond:>+13.0}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\nWhere they are, in the least window:\n")?;
        write!(f, "{:<38}", "")?;
        for part in PARTS {
            write!(f, " {part:>width$}", width = part.len().max(8))?;
        }
        writeln!(f, " {:>8} {:>10}", "others", "heap calls")?;
        for (variant, count) in &self.rows {
            let requests = self.plan.requests as f64;
            let all = count.least.total() as f64 / requests;
            let mut others = all;
            write!(f, "{variant:<38}")?;
            for part in PARTS {
                let of_part = count.least.objects.get(part).copied();
                let here = of_part.unwrap_or_default() as f64 / requests;
                others -= here;
                write!(f, " {here:>width$.0}", width = part.len().max(8))?;
            }
            let calls = count.least.heap_calls as f64 / requests;
            writeln!(f, " {others:>8.0} {calls:>10.1}")?;
        }
        Ok(())
    }
}

/// Of a sorted list: a window with none of what the mean has besides.
fn least(sorted: &[f64]) -> f64 {
    sorted.first().copied().unwrap_or_default()
}

/// In it are LuaJIT's collector, timers, and traces that were compiled late.
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// From the least to the most, in shares of the least.
fn spread(sorted: &[f64]) -> f64 {
    let ends = sorted.first().zip(sorted.last());
    ends.map_or(0.0, |(least, most)| (most - least) / least)
}
