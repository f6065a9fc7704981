//! The scripts that Redis runs: what is sent to each, and what its answer
//! means. Pure, so that whatever can run Lua can stand in for Redis.

use std::collections::BTreeMap;

use pointsman_model::{Change, Element, changes_json};
use pointsman_store::Revision;
use serde_json::{Value, json};

use super::{Batch, BatchOutcome, Claim, FORMAT, Found, Meta, Reading, RebuildStep};

/// A stream of large entries must not fill Redis, and an edge that missed more
/// than this is better off with the records as they are now.
const STREAM_BYTES: usize = 64 << 20;

/// The scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Script {
    /// Applies a batch; answers [`outcome`].
    Batch,
    /// Begins a rebuild; answers [`step`].
    Begin,
    /// Writes a piece of a rebuild; answers [`step`].
    Piece,
    /// Ends a rebuild; answers [`step`].
    End,
    /// Reads elements; answers [`reading`].
    Read,
}

macro_rules! text {
    ($file:literal) => {
        concat!(
            include_str!("scripts/prelude.lua"),
            "\n",
            include_str!($file)
        )
    };
}

impl Script {
    /// All of them, in order.
    pub const ALL: [Script; 5] = [
        Script::Batch,
        Script::Begin,
        Script::Piece,
        Script::End,
        Script::Read,
    ];

    /// What Redis is to run.
    pub fn text(self) -> &'static str {
        match self {
            Script::Batch => text!("scripts/batch.lua"),
            Script::Begin => text!("scripts/begin.lua"),
            Script::Piece => text!("scripts/piece.lua"),
            Script::End => text!("scripts/end.lua"),
            Script::Read => text!("scripts/read.lua"),
        }
    }
}

/// Where the table stands in Redis, and how it is written.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// What all our keys begin with, `pointsman:`.
    pub prefix: String,
    /// The version of the records' format.
    pub format: u32,
    /// About how many entries the change stream keeps.
    pub stream_length: usize,
    /// About how many bytes it keeps at the most.
    pub stream_bytes: usize,
}

/// A script with what is sent to it.
#[derive(Clone, Debug)]
pub struct ScriptCall {
    /// Which one.
    pub script: Script,
    /// Its keys: the table's `meta`, and the stream.
    pub keys: [String; 2],
    /// Its arguments.
    pub args: Vec<String>,
}

impl Protocol {
    /// How this version of the agent writes under `prefix`.
    pub fn new(prefix: &str, stream_length: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            format: FORMAT,
            stream_length,
            stream_bytes: STREAM_BYTES,
        }
    }

    /// A key with its prefix.
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn call(&self, script: Script, args: impl IntoIterator<Item = String>) -> ScriptCall {
        let prefix = std::iter::once(self.prefix.clone());
        ScriptCall {
            script,
            keys: [self.key("meta"), self.key("changes")],
            args: prefix.chain(args).collect(),
        }
    }

    /// Applies a batch; answers [`outcome`].
    pub fn batch(&self, batch: &Batch) -> ScriptCall {
        self.call(
            Script::Batch,
            [
                self.format.to_string(),
                batch.epoch.clone(),
                batch.from.to_string(),
                batch.to.to_string(),
                self.stream_length.to_string(),
                self.stream_bytes.to_string(),
                changes_json(&batch.changes),
            ],
        )
    }

    /// Begins a rebuild; answers [`step`].
    pub fn begin(&self, claim: &Claim) -> ScriptCall {
        self.call(
            Script::Begin,
            [
                self.format.to_string(),
                claim.epoch.clone(),
                claim.token.to_string(),
                claim.revision.to_string(),
                claim.replaces.clone().unwrap_or_default(),
                claim.from.map_or_else(String::new, |from| from.to_string()),
            ],
        )
    }

    /// Writes piece `n` of a rebuild; answers [`step`].
    pub fn piece(&self, token: Revision, n: u64, changes: &[Change]) -> ScriptCall {
        let numbers = [token.to_string(), n.to_string(), (n + 1).to_string()];
        let commands = self
            .commands(changes)
            .into_iter()
            .flat_map(|command| std::iter::once(command.len().to_string()).chain(command));
        self.call(Script::Piece, numbers.into_iter().chain(commands))
    }

    /// The commands that write these changes: one for all strings, and one for
    /// each hash. That takes Redis two thirds of the time that it takes to
    /// read them as JSON.
    fn commands(&self, changes: &[Change]) -> Vec<Vec<String>> {
        let mut commands = BTreeMap::<_, Vec<String>>::new();
        for Change { element, value } in changes {
            let name = match (element, value) {
                (Element::Instance(..), Some(_)) => "HSET",
                (Element::Instance(..), None) => "HDEL",
                (_, Some(_)) => "MSET",
                (_, None) => "DEL",
            };
            let (hash, field) = match element {
                Element::Instance(app, id) => (Some(app), Some(id)),
                Element::Route(_) | Element::App(_) => (None, None),
            };
            let key = || self.key(&element.redis_key());
            let words = commands.entry((name, hash)).or_insert_with(|| {
                let key = hash.map(|_| key());
                std::iter::once(name.to_owned()).chain(key).collect()
            });
            words.push(field.map_or_else(key, |id| id.to_string()));
            words.extend(value.as_deref().map(str::to_owned));
        }
        commands.into_values().collect()
    }

    /// Ends a rebuild of `n` pieces; answers [`step`].
    pub fn end(&self, token: Revision, n: u64, revision: Revision) -> ScriptCall {
        self.call(
            Script::End,
            [
                token.to_string(),
                n.to_string(),
                revision.to_string(),
                self.stream_length.to_string(),
            ],
        )
    }

    /// Reads elements; answers [`reading`].
    pub fn read(&self, elements: &[Element]) -> ScriptCall {
        let names: Value = elements
            .iter()
            .map(|element| match element.field() {
                None => json!([element.redis_key()]),
                Some(field) => json!([element.redis_key(), field]),
            })
            .collect();
        self.call(Script::Read, [names.to_string()])
    }
}

/// What became of a batch.
pub fn outcome((word, detail): (String, String)) -> BatchOutcome {
    let revision = || detail.parse().unwrap_or_default();
    match word.as_str() {
        "applied" => BatchOutcome::Applied,
        "stale" => BatchOutcome::Stale(revision()),
        "gap" => BatchOutcome::Gap(revision()),
        "epoch" => BatchOutcome::OtherEpoch(detail),
        "format" => BatchOutcome::OtherFormat(detail),
        "building" => BatchOutcome::Building,
        _ => BatchOutcome::Broken(detail),
    }
}

/// What became of a step of a rebuild.
pub fn step((word, detail): (String, String)) -> RebuildStep {
    if word == "done" {
        RebuildStep::Done
    } else {
        RebuildStep::Refused(detail)
    }
}

/// What was read.
pub fn reading((fields, values): (Vec<Option<String>>, Vec<Option<String>>)) -> Reading {
    let found = <[_; 6]>::try_from(fields)
        .map_or_else(|_| Found::Broken("meta is not a hash".into()), found);
    Reading {
        found,
        values: values
            .into_iter()
            .map(|value| value.map(Box::from))
            .collect(),
    }
}

/// The fields of `meta`, in the order of [`found`].
pub const META_FIELDS: [&str; 6] = ["format", "epoch", "rev", "state", "claim", "next"];

/// What the fields of `meta` say.
pub fn found(fields: [Option<String>; 6]) -> Found {
    if fields.iter().all(Option::is_none) {
        return Found::Nothing;
    }
    meta(fields).map_or_else(
        || Found::Broken("meta lacks a field, or holds one that is not a number".into()),
        Found::Table,
    )
}

fn meta(fields: [Option<String>; 6]) -> Option<Meta> {
    let [format, epoch, rev, state, claim, next] = fields;
    Some(Meta {
        format: format?.parse().ok()?,
        epoch: epoch?,
        rev: rev?.parse().ok()?,
        ready: state? == "ready",
        claim: claim?.parse().ok()?,
        next: next?.parse().ok()?,
    })
}
