//! A report as it stands in Redis: the fields of the hash `edge:<name>`.

use std::collections::BTreeMap;

use pointsman_model::Revision;

/// What an edge says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The registry that it follows.
    pub epoch: String,
    /// The revision that all of its workers have applied.
    pub applied: Revision,
    /// Its version of Pointsman.
    pub version: String,
    /// When its nginx was started, in seconds since 1970.
    pub started: u64,
    /// Its worker processes.
    pub workers: u32,
    /// Where its status listener is; empty if it has not been told.
    pub status: String,
    /// Requests in flight on each draining instance, `<app>/<id>`, over all of
    /// its workers.
    pub draining: BTreeMap<String, u64>,
    /// Another one with each report.
    pub seq: u64,
    /// Whether it reads from a replica.
    pub reads_replica: bool,
}

/// Why a hash is no report.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadReport {
    /// A field that must be there is not.
    #[error("the field {0} is missing")]
    Missing(&'static str),
    /// A field is not what it must be.
    #[error("the field {0} is {1:?}")]
    Malformed(&'static str, String),
}

impl Report {
    /// Reads the fields of a hash. Those that are not known are left out: a
    /// newer edge may have more.
    pub fn from_fields(fields: &[(String, String)]) -> Result<Self, BadReport> {
        let find = |name: &'static str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found
                .map(|(_, value)| value.as_str())
                .ok_or(BadReport::Missing(name))
        };
        let draining = find("draining")?;
        Ok(Self {
            epoch: find("epoch")?.to_owned(),
            applied: number("applied", find("applied")?)?,
            version: find("version")?.to_owned(),
            started: number("started", find("started")?)?,
            workers: number("workers", find("workers")?)?,
            status: find("status").unwrap_or_default().to_owned(),
            draining: serde_json::from_str(draining)
                .map_err(|_| BadReport::Malformed("draining", draining.to_owned()))?,
            seq: number("seq", find("seq")?)?,
            reads_replica: find("via").is_ok_and(|via| via == "replica"),
        })
    }
}

fn number<T: std::str::FromStr>(field: &'static str, text: &str) -> Result<T, BadReport> {
    text.parse()
        .map_err(|_| BadReport::Malformed(field, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(changes: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
        let all = [
            ("epoch", "e"),
            ("applied", "41"),
            ("version", "0.1.0"),
            ("started", "1700000000"),
            ("workers", "2"),
            ("status", "http://10.0.0.1:8082"),
            ("draining", r#"{"shop/a":3,"shop/b":0}"#),
            ("seq", "1700000000123"),
            ("via", "replica"),
            ("later", "unknown"),
        ];
        let pairs = all.iter().filter_map(|(field, value)| {
            let change = changes.iter().find(|(name, _)| name == field);
            let value = change.map_or(Some(*value), |(_, value)| *value)?;
            Some(((*field).to_owned(), value.to_owned()))
        });
        pairs.collect()
    }

    #[test]
    fn a_report_is_read() {
        let report = Report::from_fields(&fields(&[])).unwrap();
        assert_eq!((report.applied, report.workers), (41, 2));
        assert_eq!(report.draining["shop/a"], 3);
        assert_eq!(report.draining["shop/b"], 0);
        assert!(report.reads_replica);
        let bare = fields(&[("status", None), ("via", None)]);
        let report = Report::from_fields(&bare).unwrap();
        assert!(report.status.is_empty() && !report.reads_replica);
    }

    #[test]
    fn what_is_no_report_is_refused_and_says_why() {
        let lacking = Report::from_fields(&fields(&[("applied", None)]));
        assert_eq!(lacking, Err(BadReport::Missing("applied")));
        for (field, value) in [
            ("applied", "4x"),
            ("applied", "99999999999999999999"),
            ("workers", "-1"),
            ("draining", "[]"),
            ("draining", r#"{"shop/a":-1}"#),
            ("seq", ""),
        ] {
            let found = Report::from_fields(&fields(&[(field, Some(value))]));
            assert_eq!(found, Err(BadReport::Malformed(field, value.to_owned())));
        }
    }
}
