//! One rule of a host.

use serde_json::{Map, Value, json};

use super::condition::When;
use super::headers::Headers;
use super::items;
use super::maintenance::Maintenance;
use super::redirect::Redirect;
use super::target::{RuleTarget, read_targets};
use crate::fields::Fields;
use crate::values::{bad_value, boolean, one_of};
use crate::{AppName, Bad, BadCode, HashBy, Path};

const FIELDS: &str = "path, when, to, redirect, maintenance, strip_prefix, rewrite, headers, \
                      split_by";
const ACTIONS: &str = "to, redirect, maintenance";
const MOST_CONDITIONS: usize = 16;

/// A rule: what becomes of requests under `path` that fulfil all of `when`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The path prefix; it ends at a segment's border.
    pub path: Path,
    /// The conditions.
    pub when: Vec<When>,
    /// What becomes of the requests.
    pub action: RuleAction,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleAction {
    /// It goes to an app.
    To(Box<To>),
    /// It is answered by a redirection.
    Redirect(Redirect),
    /// It is answered by 503.
    Maintenance(Maintenance),
}

/// To which app a request goes, and how it is changed on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct To {
    /// The apps; at least one.
    pub targets: Vec<RuleTarget>,
    /// What takes the place of the rule's path.
    pub rewrite: Option<Rewrite>,
    /// What is changed about headers.
    pub headers: Headers,
    /// What keeps a user on one side of a split.
    pub split_by: Option<HashBy>,
}

/// What takes the place of a rule's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Nothing: the rest is the path.
    Strip,
    /// Another path.
    Path(Path),
}

impl Rule {
    /// The rule that sends all to an app.
    pub(super) fn to_app(app: AppName) -> Self {
        Self {
            path: Path::root(),
            when: Vec::new(),
            action: RuleAction::To(Box::new(To {
                targets: vec![RuleTarget::only(app)],
                rewrite: None,
                headers: Headers::default(),
                split_by: None,
            })),
        }
    }

    pub(super) fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("a rule", value)?;
        let path = fields.take_string("path")?;
        let path = path.map_or(Ok(Path::root()), |text| Path::from_user("path", &text))?;
        let when = match fields.take("when") {
            None => Vec::new(),
            Some(when) if when == json!([]) => Vec::new(),
            Some(when) => items("when", when, MOST_CONDITIONS, When::from_json)?,
        };
        let to = fields.take("to").map(read_targets).transpose()?;
        let rewrite = take_rewrite(&mut fields)?;
        let headers = fields.take_nested("headers", Headers::from_json)?;
        let split_by = fields.take_nested("split_by", |value| {
            HashBy::from_json("what a split goes by", value).and_then(splittable)
        })?;
        let mut actions = Vec::new();
        if let Some(redirect) = fields.take_nested("redirect", Redirect::from_json)? {
            actions.push(RuleAction::Redirect(redirect));
        }
        if let Some(maintenance) = fields.take_nested("maintenance", Maintenance::from_json)? {
            actions.push(RuleAction::Maintenance(maintenance));
        }
        let only_with_to = [
            ("rewrite", matches!(rewrite, Some(Rewrite::Path(_)))),
            ("strip_prefix", matches!(rewrite, Some(Rewrite::Strip))),
            ("headers", headers.is_some()),
            ("split_by", split_by.is_some()),
        ];
        let without_to = to.is_none() && !actions.is_empty();
        if let Some((name, _)) = only_with_to.iter().find(|(_, is)| *is && without_to) {
            let detail = format!("\"{name}\" is for rules that send requests on, by \"to\"");
            return Err(bad_value(name, detail));
        }
        if let Some(targets) = to {
            actions.push(RuleAction::To(Box::new(To {
                targets,
                rewrite,
                headers: headers.unwrap_or_default(),
                split_by,
            })));
        }
        fields.finish(FIELDS)?;
        let action = one_of("a rule", ACTIONS, actions)?;
        Ok(Self { path, when, action })
    }

    /// As the API shows it.
    pub(super) fn to_json(&self) -> Value {
        self.json(Maintenance::to_json, |rule, to| {
            match &to.rewrite {
                None => {}
                Some(Rewrite::Strip) => {
                    rule.insert("strip_prefix".to_owned(), json!(true));
                }
                Some(Rewrite::Path(path)) => {
                    rule.insert("rewrite".to_owned(), json!(path.as_str()));
                }
            }
            add_headers(rule, to);
            if let Some(by) = &to.split_by {
                rule.insert("split_by".to_owned(), by.to_json());
            }
        })
    }

    /// As a record has it: without what changes nothing.
    pub(super) fn record(&self) -> Value {
        self.json(Maintenance::record, |rule, to| {
            let root = Path::root();
            let place = to.rewrite.as_ref().map(|rewrite| match rewrite {
                Rewrite::Strip => &root,
                Rewrite::Path(path) => path,
            });
            if let Some(place) = place.filter(|place| **place != self.path) {
                rule.insert("rewrite".to_owned(), json!(place.as_str()));
            }
            add_headers(rule, to);
            if let (Some(by), true) = (&to.split_by, to.targets.len() > 1) {
                rule.insert("split_by".to_owned(), by.to_json());
            }
        })
    }

    fn json(
        &self,
        maintenance_json: fn(&Maintenance) -> Value,
        add: impl FnOnce(&mut Map<String, Value>, &To),
    ) -> Value {
        let mut rule = Map::new();
        rule.insert("path".to_owned(), json!(self.path.as_str()));
        if !self.when.is_empty() {
            let when = self.when.iter().map(When::to_json).collect();
            rule.insert("when".to_owned(), when);
        }
        match &self.action {
            RuleAction::To(to) => {
                let split = to.targets.len() > 1;
                let targets = to.targets.iter().map(|target| target.to_json(split));
                rule.insert("to".to_owned(), targets.collect());
                add(&mut rule, to);
            }
            RuleAction::Redirect(redirect) => {
                rule.insert("redirect".to_owned(), redirect.to_json());
            }
            RuleAction::Maintenance(maintenance) => {
                rule.insert("maintenance".to_owned(), maintenance_json(maintenance));
            }
        }
        Value::Object(rule)
    }
}

fn add_headers(rule: &mut Map<String, Value>, to: &To) {
    if let Some(headers) = to.headers.to_json() {
        rule.insert("headers".to_owned(), headers);
    }
}

fn take_rewrite(fields: &mut Fields) -> Result<Option<Rewrite>, Bad> {
    let strip = fields.take("strip_prefix");
    let strip = strip.map_or(Ok(false), |value| boolean("strip_prefix", value))?;
    let rewrite = fields.take_string("rewrite")?;
    match (strip, rewrite) {
        (false, None) => Ok(None),
        (true, None) => Ok(Some(Rewrite::Strip)),
        (false, Some(text)) => {
            let path = Path::from_user("rewrite", &text)?;
            Ok(Some(Rewrite::Path(path)))
        }
        (true, Some(_)) => {
            let detail = "a rule has either \"strip_prefix\" or \"rewrite\", not both";
            Err(bad_value("rewrite", detail))
        }
    }
}

fn splittable(by: HashBy) -> Result<HashBy, Bad> {
    if by == HashBy::Uri {
        let detail = "a split by \"uri\" would send one user to both sides; it goes by client, \
                      header, or cookie";
        return Err(Bad::new(BadCode::BadValue, detail).field("uri"));
    }
    Ok(by)
}
