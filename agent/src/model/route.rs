//! The rules of a host.

use serde_json::{Value, json};

use super::fields::{Fields, kind, string};
use super::{AppName, Bad, BadCode, quoted};
use crate::store::Revision;

/// Where a rule sends requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The app.
    pub app: AppName,
}

/// A rule: requests under `path` go to one of `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The path prefix; only `/` for now.
    pub path: Box<str>,
    /// The targets; only one for now.
    pub to: Vec<Target>,
}

/// The rules of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The rules; only one for now.
    pub rules: Vec<Rule>,
}

impl Route {
    /// Reads a value, as in etcd or in a request to the API: `{"rules":[…]}`,
    /// or `{"app":"shop"}` for the one rule that sends all to an app.
    pub fn from_value(raw: &[u8]) -> Result<Self, Bad> {
        let mut fields = Fields::parse("a route", raw)?;
        let rules = match (fields.take("app"), fields.take("rules")) {
            (Some(app), None) => vec![Rule::to_app(app_name(&string("app", app)?)?)],
            (None, Some(Value::Array(rules))) => {
                rules.into_iter().map(rule).collect::<Result<_, _>>()?
            }
            (None, Some(other)) => {
                let detail = format!("\"rules\" must be an array, not {}", kind(&other));
                return Err(Bad::new(BadCode::BadValue, detail).field("rules"));
            }
            (Some(_), Some(_)) => {
                let detail = "a route has either \"app\" or \"rules\", not both";
                return Err(Bad::new(BadCode::BadValue, detail));
            }
            (None, None) => {
                // A misspelt field is the likelier mistake: name it first.
                fields.finish("app or rules")?;
                let detail = "a route needs the field \"app\" or \"rules\"";
                return Err(Bad::new(BadCode::MissingField, detail));
            }
        };
        fields.finish("app or rules")?;
        match rules.len() {
            0 => Err(Bad::new(
                BadCode::BadValue,
                "\"rules\" is empty; to unbind the host, delete the route",
            )
            .field("rules")),
            1 => Ok(Self { rules }),
            _ => Err(not_yet("rules", "more than one rule for a host")),
        }
    }

    /// The value as the API writes it to etcd; also what it shows.
    pub fn to_value(&self) -> String {
        format!(r#"{{"rules":{}}}"#, self.rules_json())
    }

    /// The rules alone, as a JSON array: what the table keeps of a route.
    pub fn rules_json(&self) -> String {
        let rules: Value = self
            .rules
            .iter()
            .map(|rule| {
                let to: Value = rule
                    .to
                    .iter()
                    .map(|t| json!({ "app": t.app.as_str() }))
                    .collect();
                json!({ "path": rule.path, "to": to })
            })
            .collect();
        rules.to_string()
    }

    /// The record in Redis, from [`Route::rules_json`]. `deeper` is for
    /// wildcards only: whether any other route key lies beneath it.
    pub fn record(rules: &str, rev: Revision, deeper: Option<bool>) -> String {
        match deeper {
            None => format!(r#"{{"rev":"{rev}","rules":{rules}}}"#),
            Some(deeper) => {
                let deeper = u8::from(deeper);
                format!(r#"{{"rev":"{rev}","deeper":{deeper},"rules":{rules}}}"#)
            }
        }
    }
}

impl Rule {
    fn to_app(app: AppName) -> Self {
        Self {
            path: "/".into(),
            to: vec![Target { app }],
        }
    }
}

fn rule(value: Value) -> Result<Rule, Bad> {
    let mut fields = Fields::from_value("a rule", value).map_err(|bad| bad.field("rules"))?;
    let path = fields
        .take_string("path")?
        .unwrap_or_else(|| "/".to_owned());
    if path != "/" {
        return Err(not_yet(
            "path",
            &format!("a rule for the path {}", quoted(&path)),
        ));
    }
    let to = match fields.require("to")? {
        Value::Array(to) => to,
        other => {
            let detail = format!("\"to\" must be an array, not {}", kind(&other));
            return Err(Bad::new(BadCode::BadValue, detail).field("to"));
        }
    };
    fields.finish("path, to")?;
    let mut targets = to.into_iter().map(target).collect::<Result<Vec<_>, _>>()?;
    match (targets.pop(), targets.is_empty()) {
        (None, _) => Err(Bad::new(BadCode::BadValue, "\"to\" is empty; name an app").field("to")),
        (Some(target), true) => Ok(Rule::to_app(target.app)),
        (Some(_), false) => Err(not_yet("to", "a split over several apps")),
    }
}

fn target(value: Value) -> Result<Target, Bad> {
    let mut fields = Fields::from_value("a target", value).map_err(|bad| bad.field("to"))?;
    let app = app_name(&fields.require_string("app")?)?;
    if fields.take("weight").is_some() {
        return Err(not_yet("weight", "a target's \"weight\""));
    }
    fields.finish("app")?;
    Ok(Target { app })
}

fn app_name(text: &str) -> Result<AppName, Bad> {
    AppName::new(text).map_err(|bad| bad.field("app"))
}

fn not_yet(field: &str, what: &str) -> Bad {
    Bad::new(
        BadCode::NotSupported,
        format!("{what} is not built yet; a host goes to one app"),
    )
    .field(field)
}
