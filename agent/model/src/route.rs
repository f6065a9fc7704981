//! The rules of a host.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::fields::{Fields, string};
use super::values::{array, bad_value};
use super::{AppName, Bad, BadCode, Pause};
use crate::Revision;

mod condition;
mod headers;
mod maintenance;
mod redirect;
mod rule;
mod target;
#[cfg(test)]
mod tests;

pub use condition::{Subject, Test, When};
pub use headers::{HeaderEdits, Headers};
pub use maintenance::Maintenance;
pub use redirect::Redirect;
pub use rule::{Rewrite, Rule, RuleAction, To};
pub use target::RuleTarget;

const MOST_RULES: usize = 64;

/// The rules of a host, in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The rules; at least one.
    pub rules: Vec<Rule>,
}

impl Route {
    /// Reads a value, as in etcd or in a request to the API: `{"rules":[…]}`,
    /// or `{"app":"shop"}` for the one rule that sends all to an app.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        read(raw).map_err(Bad::located)
    }

    /// The app of a value that sends all to one app, as most do, and is
    /// written as short as can be or as the API writes it. Everything else is
    /// for [`Route::from_value`].
    pub fn only_app(raw: &[u8]) -> Option<AppName> {
        let text = std::str::from_utf8(raw).ok()?;
        let between = |before: &str, behind: &str| text.strip_prefix(before)?.strip_suffix(behind);
        let app = between(r#"{"app":""#, r#""}"#)
            .or_else(|| between(r#"{"rules":[{"path":"/","to":[{"app":""#, r#""}]}]}"#))?;
        AppName::new(app).ok()
    }

    /// The rules of such a route, as they are shown and as the record has them.
    pub fn rules_to(app: &AppName) -> String {
        format!(r#"[{{"path":"/","to":[{{"app":"{app}"}}]}}]"#)
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        format!(r#"{{"rules":{}}}"#, self.rules_json())
    }

    /// The rules alone, as a JSON array, as the API shows them.
    pub fn rules_json(&self) -> String {
        let rules: Value = self.rules.iter().map(Rule::to_json).collect();
        rules.to_string()
    }

    /// The rules as a record has them: in the order in which they are tried,
    /// the longest path first.
    pub fn record_rules(&self) -> String {
        let mut rules: Vec<_> = self.rules.iter().collect();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.path.as_str().len()));
        let rules: Value = rules.into_iter().map(Rule::record).collect();
        rules.to_string()
    }

    /// The record in Redis, from [`Route::record_rules`]. `deeper` is for
    /// wildcards only: whether any other route key lies beneath it.
    pub fn record(
        rules: &str,
        rev: Revision,
        deeper: Option<bool>,
        pause: Option<Pause>,
    ) -> String {
        let deeper = match deeper {
            None => "",
            Some(false) => r#""deeper":0,"#,
            Some(true) => r#""deeper":1,"#,
        };
        let pause = pause.map(|pause| format!(r#""pause":{},"#, pause.to_value()));
        let pause = pause.unwrap_or_default();
        format!(r#"{{"rev":"{rev}",{deeper}{pause}"rules":{rules}}}"#)
    }
}

fn read(raw: &[u8]) -> Result<Route, Bad> {
    let mut fields = Fields::parse("a route", raw)?;
    let (app, rules) = (fields.take("app"), fields.take("rules"));
    // A misspelt field is the likelier mistake: name it first.
    fields.finish("app or rules")?;
    match (app, rules) {
        (Some(app), None) => {
            let app = app_name(&string("app", app)?)?;
            let rules = vec![Rule::to_app(app)];
            Ok(Route { rules })
        }
        (None, Some(rules)) => read_rules(rules),
        (Some(_), Some(_)) => {
            let detail = "a route has either \"app\" or \"rules\", not both";
            Err(Bad::new(BadCode::BadValue, detail))
        }
        (None, None) => {
            let detail = "a route needs the field \"app\" or \"rules\"";
            Err(Bad::new(BadCode::MissingField, detail))
        }
    }
}

fn read_rules(value: Value) -> Result<Route, Bad> {
    if value == json!([]) {
        let detail = "\"rules\" is empty; to unbind the host, delete the route";
        return Err(bad_value("rules", detail));
    }
    let rules = items("rules", value, MOST_RULES, Rule::from_json)?;
    let mut taken = HashSet::new();
    for (n, rule) in rules.iter().enumerate() {
        let path = rule.path.as_str();
        if taken.contains(path) {
            let detail = format!(
                "this rule can never be reached: an earlier one for the path \"{path}\" takes all \
                 requests; give that one a \"when\", or put it last"
            );
            return Err(bad_value(&format!("rules[{n}]"), detail));
        }
        // A redirect is passed over for requests that are where it leads to.
        if rule.when.is_empty() && !matches!(rule.action, RuleAction::Redirect(_)) {
            taken.insert(path);
        }
    }
    Ok(Route { rules })
}

/// Reads the items of an array; a refusal names the item.
fn items<T>(
    name: &str,
    value: Value,
    most: usize,
    read: impl Fn(Value) -> Result<T, Bad>,
) -> Result<Vec<T>, Bad> {
    let items = array(name, value, 1, most)?.into_iter().enumerate();
    items
        .map(|(n, item)| read(item).map_err(|bad| bad.within(&format!("{name}[{n}]"))))
        .collect()
}

fn app_name(text: &str) -> Result<AppName, Bad> {
    AppName::new(text).map_err(|bad| bad.field("app"))
}
