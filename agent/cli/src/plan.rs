//! What `apply` would do, and how it is shown.

use pointsman_model::{Instance, Key, Settings};
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use crate::around::{CommandError, Session};
use crate::files::Declared;
use crate::object::{FoundObject, ObjectFields, ObjectReader, title};
use crate::table::Painter;
use crate::yaml;

/// How many lines are shown around what changes.
const CONTEXT: usize = 3;

/// What becomes of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Create,
    Change,
    Delete,
    Keep,
}

/// One object of a plan.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlanStep {
    pub(crate) key: Key,
    pub(crate) act: Act,
    pub(crate) before: Option<FoundObject>,
    pub(crate) after: Option<ObjectFields>,
}

impl Act {
    fn sign(self) -> char {
        match self {
            Act::Create => '+',
            Act::Change => '~',
            Act::Delete => '-',
            Act::Keep => ' ',
        }
    }

    /// What is to be done.
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Act::Create => "create",
            Act::Change => "change",
            Act::Delete => "delete",
            Act::Keep => "keep",
        }
    }

    /// What was done.
    pub(crate) fn done(self) -> &'static str {
        match self {
            Act::Create => "created",
            Act::Change => "changed",
            Act::Delete => "deleted",
            Act::Keep => "unchanged",
        }
    }
}

/// Settings come first, since they judge instances, then apps and instances,
/// then what leads to them. What is deleted goes the other way round.
fn rank(key: &Key) -> usize {
    match key {
        Key::Settings => 0,
        Key::App(_) => 1,
        Key::Instance(..) => 2,
        _ => 3,
    }
}

/// The steps to what is declared, and to the end of what is `gone`, in their
/// order.
pub(crate) async fn plan(
    session: &Session,
    mut declared: Vec<Declared>,
    gone: Vec<Key>,
) -> Result<Vec<PlanStep>, CommandError> {
    let mut reader = ObjectReader::new(&session.client);
    declared.sort_by_key(|declared| rank(&declared.key));
    let mut steps = Vec::new();
    for Declared { key, fields, .. } in &declared {
        let before = reader.find(key).await?;
        let act = match &before {
            None => Act::Create,
            Some(found) if found.value.as_ref() == Ok(fields) => Act::Keep,
            Some(_) => Act::Change,
        };
        steps.push(PlanStep {
            key: key.clone(),
            act,
            before,
            after: Some(fields.clone()),
        });
    }
    check_networks(&mut reader, &declared, &steps).await?;
    let mut gone = gone;
    gone.sort_by_key(|key| std::cmp::Reverse(rank(key)));
    for key in gone {
        if let Some(before) = reader.find(&key).await? {
            steps.push(PlanStep {
                key,
                act: Act::Delete,
                before: Some(before),
                after: None,
            });
        }
    }
    Ok(steps)
}

/// Refuses instances where the settings allow none, as an agent would: by the
/// settings that are declared, or those that are there.
async fn check_networks(
    reader: &mut ObjectReader<'_>,
    declared: &[Declared],
    steps: &[PlanStep],
) -> Result<(), CommandError> {
    let written = declared.iter().zip(steps);
    let written = written.filter(|(_, step)| step.act != Act::Keep);
    let instances = written.filter(|(declared, _)| matches!(declared.key, Key::Instance(..)));
    let instances: Vec<_> = instances.map(|(declared, _)| declared).collect();
    if instances.is_empty() {
        return Ok(());
    }
    let ours = declared.iter().find(|d| d.key == Key::Settings);
    let settings = match ours {
        Some(declared) => Some(declared.fields.clone()),
        None => match reader.find(&Key::Settings).await? {
            Some(found) => found.value.ok(),
            None => None,
        },
    };
    let settings = Value::Object(settings.unwrap_or_default()).to_string();
    let settings = Settings::from_value(settings.as_bytes()).unwrap_or_default();
    for Declared { fields, place, .. } in instances {
        let mut fields = fields.clone();
        fields.remove("ttl");
        let allowed = Instance::from_map(fields).and_then(|one| settings.check(one.addr));
        allowed.map_err(|bad| CommandError::Refused(format!("{place}: {}", bad.detail)))?;
    }
    Ok(())
}

/// A plan for people: what changes, line by line.
pub(crate) fn shown(paint: Painter, steps: &[PlanStep]) -> String {
    let mut text = String::new();
    for step in steps.iter().filter(|step| step.act != Act::Keep) {
        let head = format!("{} {}", step.act.verb(), title(&step.key));
        text += &format!("{}\n", paint.change(step.act.sign(), &head));
        let before = step.before.as_ref().map(|found| match &found.value {
            Ok(fields) => lines(fields),
            Err(reason) => format!("(bad: {reason})\n"),
        });
        let (before, after) = (before.unwrap_or_default(), step.after.as_ref().map(lines));
        text += &difference(paint, &before, &after.unwrap_or_default());
    }
    let count = |act: Act| steps.iter().filter(|step| step.act == act).count();
    let parts = [Act::Create, Act::Change, Act::Delete]
        .into_iter()
        .filter(|act| count(*act) > 0)
        .map(|act| format!("{} to {}", count(act), act.verb()));
    let unchanged = format!("{} unchanged", count(Act::Keep));
    let parts: Vec<_> = parts.chain([unchanged]).collect();
    text + &parts.join(", ") + "\n"
}

fn lines(fields: &ObjectFields) -> String {
    match fields.is_empty() {
        true => String::new(),
        false => yaml::text(&Value::Object(fields.clone())),
    }
}

fn difference(paint: Painter, before: &str, after: &str) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut text = String::new();
    for (n, group) in diff.grouped_ops(CONTEXT).iter().enumerate() {
        if n > 0 {
            text += "    …\n";
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            let line = format!("  {sign} {}", change.value().trim_end_matches('\n'));
            text += &paint.change(sign, &line);
            text += "\n";
        }
    }
    text
}

/// A plan for programs.
pub(crate) fn for_programs(steps: &[PlanStep]) -> Value {
    let steps = steps.iter().map(|step| {
        let before = step.before.as_ref();
        let before = before.and_then(|found| found.value.as_ref().ok());
        json!({
            "object": step.key.to_string(), "action": step.act.verb(),
            "before": before, "after": step.after,
        })
    });
    json!({ "plan": steps.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_shows_what_changes() {
        let fields = |value: Value| value.as_object().cloned().unwrap();
        let found = |value: Value| {
            let (value, revision) = (Ok(fields(value)), 7);
            Some(FoundObject { value, revision })
        };
        let step = |key: &str, act, before, after: Option<Value>| PlanStep {
            key: Key::parse(key).unwrap(),
            act,
            before,
            after: after.map(fields),
        };
        let steps = [
            step("apps/new", Act::Create, None, Some(json!({}))),
            step(
                "routes/shop.test",
                Act::Change,
                found(json!({ "app": "shop" })),
                Some(json!({ "app": "blog" })),
            ),
            step("settings", Act::Keep, found(json!({})), Some(json!({}))),
            step(
                "instances/shop/a",
                Act::Delete,
                found(json!({"addr": "10.0.0.5:80", "weight": 1})),
                None,
            ),
        ];
        assert_eq!(
            shown(Painter::new(false), &steps),
            "create app new\n\
             change route shop.test\n  - app: shop\n  + app: blog\n\
             delete instance shop/a\n  - addr: \"10.0.0.5:80\"\n  - weight: 1\n\
             1 to create, 1 to change, 1 to delete, 1 unchanged\n"
        );
        let colours = shown(Painter::new(true), &steps[1..2]);
        assert!(
            colours.contains("\x1b[32m  + app: blog\x1b[0m\n"),
            "{colours}"
        );
        let plan = for_programs(&steps);
        assert_eq!(plan["plan"][1]["before"]["app"], "shop");
        assert_eq!(plan["plan"][3]["after"], Value::Null);
    }
}
