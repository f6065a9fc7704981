//! Where a rule sends requests to.

use serde_json::{Value, json};

use super::condition::When;
use super::{app_name, items};
use crate::fields::Fields;
use crate::instance::weight;
use crate::values::bad_value;
use crate::{AppName, Bad, BadCode, DEFAULT_WEIGHT, quoted};

const FIELDS: &str = "app, weight, force";
const MOST: usize = 16;

/// Where a rule sends requests to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleTarget {
    /// The app.
    pub app: AppName,
    /// Its share of a split.
    pub weight: u16,
    /// What sends a request here, whatever the split says.
    pub force: Option<When>,
}

impl RuleTarget {
    /// The only target of a rule.
    pub(super) fn only(app: AppName) -> Self {
        Self {
            app,
            weight: DEFAULT_WEIGHT,
            force: None,
        }
    }

    fn from_json(value: Value) -> Result<Self, Bad> {
        let mut fields = Fields::from_value("a target", value)?;
        let app = app_name(&fields.require_string("app")?)?;
        let weight = fields.take("weight").map_or(Ok(DEFAULT_WEIGHT), weight)?;
        let force = fields.take_nested("force", When::from_json)?;
        fields.finish(FIELDS)?;
        if force.as_ref().is_some_and(|force| !force.may_force()) {
            let detail = "\"force\" goes by a header or a cookie";
            return Err(bad_value("force", detail));
        }
        Ok(Self { app, weight, force })
    }

    /// `split`: whether there are other targets, so that weight and force mean
    /// something.
    pub(super) fn to_json(&self, split: bool) -> Value {
        let mut value = json!({ "app": self.app.as_str() });
        if split {
            value["weight"] = json!(self.weight);
            if let Some(force) = &self.force {
                value["force"] = force.to_json();
            }
        }
        value
    }
}

/// Reads the targets of a rule.
pub(super) fn read_targets(value: Value) -> Result<Vec<RuleTarget>, Bad> {
    if value == json!([]) {
        return Err(bad_value("to", "\"to\" is empty; name an app"));
    }
    let mut targets = items("to", value, MOST, RuleTarget::from_json)?;
    for (n, target) in targets.iter().enumerate() {
        if targets[..n].iter().any(|other| other.app == target.app) {
            let detail = format!(
                "{} is there twice; an app has one weight",
                quoted(target.app.as_str())
            );
            return Err(Bad::new(BadCode::BadValue, detail).field(&format!("to[{n}].app")));
        }
    }
    if targets.iter().all(|target| target.weight == 0) {
        let detail = "all weights are 0, so that no request would go anywhere";
        return Err(Bad::new(BadCode::BadWeight, detail).field("to"));
    }
    // The only one has all requests, whatever it says.
    if let [only] = &mut targets[..] {
        only.weight = DEFAULT_WEIGHT;
        only.force = None;
    }
    Ok(targets)
}
