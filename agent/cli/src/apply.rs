//! `pointsman apply`: brings the registry to what files say.
//!
//! All is read and checked before the first write; each write names the revision
//! that it was planned on, so what others change meanwhile is not overwritten.
//!
//! A set is known to every machine, since etcd has it. Before the first write it
//! has the members of before and of now, and only after the last one those of
//! now: whatever breaks off in between, the next run knows all that was applied.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use pointsman_client::{CallError, WriteCondition, segment};
use pointsman_model::{Key, SetName};
use pointsman_wire::{Code, SetList};
use serde_json::{Value, json};

use crate::around::for_programs;
use crate::around::{CommandError, CommandReport, Output, Session, complaint, confirmed, failed};
use crate::edges::duration;
use crate::files::{self, Declared};
use crate::object::{path, title};
use crate::plan::{self, Act, PlanStep};
use crate::set::changed_since;

/// How many objects are named that were not reached.
const MOST_NAMED: usize = 10;

/// The arguments of `pointsman apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// Files of YAML or JSON, each of one or more documents; - is standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,

    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,

    /// The name under which etcd keeps what these files have
    #[arg(long, value_name = "NAME", value_parser = |s: &str| SetName::new(s))]
    pub set: Option<SetName>,

    /// Delete what was applied under this name before, and is no longer in the files
    #[arg(long, requires = "set")]
    pub prune: bool,

    /// Wait so long until all of it is live on every edge
    #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// A set as it was found.
#[derive(Debug, Default)]
struct SetMembership {
    revision: Option<i64>,
    members: BTreeSet<Key>,
    /// What other sets have.
    others: BTreeSet<Key>,
}

pub(crate) async fn apply(
    session: &Session,
    args: ApplyArgs,
) -> Result<CommandReport, CommandError> {
    let declared = files::read(&args.files)?;
    let set = match &args.set {
        Some(name) => Some((name, membership(session, name).await?)),
        None => None,
    };
    let ours: BTreeSet<Key> = declared.iter().map(|d| d.key.clone()).collect();
    let gone = match &set {
        Some((_, set)) if args.prune => {
            let gone = set.members.difference(&ours);
            gone.filter(|key| !set.others.contains(key))
                .cloned()
                .collect()
        }
        _ => Vec::new(),
    };
    check_not_empty(&declared, &args)?;
    let steps = plan::plan(session, declared, gone).await?;
    if args.dry_run {
        let text = match session.output {
            Output::Text => plan::shown(session.paint, &steps),
            other => for_programs(&plan::for_programs(&steps), other),
        };
        return Ok(CommandReport::done(text));
    }
    let mut applied = Applied::new(session, steps);
    let written = write(session, &args, set, &ours, &mut applied).await;
    written.map_err(|error| applied.midway(&error))?;
    let Some(wait) = args.wait else {
        return Ok(applied.report(""));
    };
    let revision = applied.revision;
    let what = format!("waiting until revision {revision} is live");
    let call = session.client.wait(revision, wait);
    match session.waiting(&what, call).await {
        Ok(waited) => {
            let confirmed = confirmed(&waited.edges);
            Ok(applied.report(&format!("revision {revision} is live: {confirmed}\n")))
        }
        Err(error) => Err(applied.midway(&error.into())),
    }
}

/// Files without an object are most likely a mistake of what made them.
fn check_not_empty(declared: &[Declared], args: &ApplyArgs) -> Result<(), CommandError> {
    if !declared.is_empty() {
        return Ok(());
    }
    let more = match args.prune {
        true => "; --prune would delete the whole set, so delete its members one by one",
        false => "",
    };
    let complaint = format!("the files have no document{more}");
    Err(CommandError::Refused(complaint))
}

/// Writes all, the set before and behind.
async fn write(
    session: &Session,
    args: &ApplyArgs,
    set: Option<(&SetName, SetMembership)>,
    ours: &BTreeSet<Key>,
    applied: &mut Applied<'_>,
) -> Result<(), CommandError> {
    let Some((name, set)) = set else {
        return applied.run().await;
    };
    let all: BTreeSet<Key> = set.members.union(ours).cloned().collect();
    let mut revision = set.revision;
    if revision.is_none() || all != set.members {
        revision = Some(keep_set(session, name, &all, revision).await?);
    }
    applied.run().await?;
    if args.prune && all != *ours {
        keep_set(session, name, ours, revision).await?;
    }
    Ok(())
}

async fn membership(session: &Session, name: &SetName) -> Result<SetMembership, CommandError> {
    let list: SetList = session.client.get_json("/v1/sets").await?;
    let mut found = SetMembership::default();
    for set in list.sets {
        let members = set.members.iter().filter_map(|key| Key::parse(key).ok());
        match set.set == name.as_str() {
            true => {
                found.members = members.collect();
                found.revision = Some(set.revision);
            }
            false => found.others.extend(members),
        }
    }
    Ok(found)
}

async fn keep_set(
    session: &Session,
    name: &SetName,
    members: &BTreeSet<Key>,
    revision: Option<i64>,
) -> Result<i64, CommandError> {
    let path = format!("/v1/sets/{}", segment(name.as_str()));
    let members: Vec<_> = members.iter().map(ToString::to_string).collect();
    let body = json!({ "members": members }).to_string();
    let condition = revision.map_or(WriteCondition::Absent, WriteCondition::ChangedAt);
    let put = session
        .client
        .write(Method::PUT, &path, Some(&body), condition, None);
    match put.await {
        Ok(changed) => Ok(changed.revision()),
        Err(CallError::Refused(problem)) if problem.code == Code::PreconditionFailed => {
            let complaint =
                format!("somebody else applies the set {name} at the same time; apply it again");
            Err(CommandError::Refused(complaint))
        }
        Err(error) => Err(error.into()),
    }
}

/// How far a plan is carried out.
struct Applied<'a> {
    session: &'a Session,
    steps: Vec<PlanStep>,
    /// The revisions of those that are done, in their order.
    done: Vec<i64>,
    /// The youngest of all objects: live when all of them are.
    revision: i64,
}

impl<'a> Applied<'a> {
    fn new(session: &'a Session, steps: Vec<PlanStep>) -> Self {
        Self {
            session,
            steps,
            done: Vec::new(),
            revision: 1,
        }
    }

    async fn run(&mut self) -> Result<(), CommandError> {
        for at in 0..self.steps.len() {
            if let Some(show) = self.session.around.progress {
                show(&format!("applying {} of {}", at + 1, self.steps.len()));
            }
            let revision = self.step(&self.steps[at]).await;
            if let Some(show) = self.session.around.progress {
                show("");
            }
            let revision = revision?;
            self.done.push(revision);
            self.revision = self.revision.max(revision);
        }
        Ok(())
    }

    async fn step(&self, step: &PlanStep) -> Result<i64, CommandError> {
        let before = step.before.as_ref().map(|found| found.revision);
        let condition = before.map_or(WriteCondition::Absent, WriteCondition::ChangedAt);
        let (client, path) = (&self.session.client, path(&step.key));
        let body = step
            .after
            .clone()
            .map(|after| Value::from(after).to_string());
        let call = match step.act {
            Act::Keep => return Ok(before.unwrap_or_default()),
            Act::Delete => client.write(Method::DELETE, &path, None, condition, None),
            _ => client.write(Method::PUT, &path, body.as_deref(), condition, None),
        };
        match call.await {
            Ok(changed) => Ok(changed.revision()),
            Err(CallError::Refused(problem)) if problem.code == Code::PreconditionFailed => {
                let now = changed_since(self.session, &step.key, step.before.clone()).await?;
                match (now, &step.after) {
                    // Others wanted the same.
                    (None, None) => Ok(before.unwrap_or_default()),
                    (Some(now), Some(after)) if now.value.as_ref() == Ok(after) => Ok(now.revision),
                    _ => {
                        let detail = problem.detail;
                        let complaint = format!(
                            "{detail}, after it was read here, and is left so; apply again"
                        );
                        Err(CommandError::Refused(complaint))
                    }
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    fn report(&self, end: &str) -> CommandReport {
        CommandReport::done(match self.session.output {
            Output::Text => {
                let steps = self.steps.iter().zip(&self.done);
                let lines = steps.map(|(step, _)| {
                    let line = format!("{} {}", title(&step.key), step.act.done());
                    format!("{line}\n")
                });
                lines.chain([end.to_owned()]).collect()
            }
            other => for_programs(&self.body(), other),
        })
    }

    fn body(&self) -> Value {
        let steps = self.steps.iter().zip(&self.done);
        let done = steps.map(|(step, revision)| {
            let action = step.act.done();
            json!({"object": step.key.to_string(), "action": action, "revision": revision})
        });
        let left = self.steps.iter().skip(self.done.len());
        let left = left.map(|step| step.key.to_string());
        json!({
            "applied": done.collect::<Vec<_>>(),
            "not_applied": left.collect::<Vec<_>>(),
            "revision": self.revision,
        })
    }

    /// The failure, with what was done before it and what was not.
    fn midway(&self, error: &CommandError) -> CommandError {
        let mut report = failed(error, self.session.output);
        let lacking = std::mem::take(&mut report.text);
        let done = self.report("").text;
        report.text = match self.session.output {
            Output::Text => done + &lacking,
            _ => done,
        };
        let mut left = self.steps[self.done.len()..]
            .iter()
            .map(|step| title(&step.key));
        if let Some(first) = left.next() {
            let (more, total) = (left.len(), self.steps.len());
            let named: Vec<_> = left.take(MOST_NAMED).collect();
            let rest = match named.is_empty() {
                true => String::new(),
                false => format!("; not applied after it: {}", named.join(", ")),
            };
            let rest = match more > MOST_NAMED {
                true => format!("{rest} and {} more", more - MOST_NAMED),
                false => rest,
            };
            report.complaint = format!(
                "{first}: {} ({} of {total} are applied{rest})",
                complaint(error),
                self.done.len(),
            );
        }
        CommandError::Midway(Box::new(report))
    }
}
