//! What must hold: after each message that reaches Redis, and at rest.

use std::collections::BTreeMap;

use pointsman_memory::MemoryStore;
use pointsman_mirror::table::{Held, Table};
use pointsman_model::Element;
use pointsman_publish::sink::script;
use pointsman_publish::sink::{Found, Meta};
use pointsman_store::Revision;

use crate::redis::{Data, Entry, Item};

/// What stands for the value of something that has a wrong type.
const WRONG_TYPE: &str = "a wrong type";

/// Watches over Redis.
pub struct Checker {
    store: MemoryStore,
    prefix: String,
    /// Whether a ready table must equal etcd's content at its revision. Not
    /// once somebody else wrote to Redis, or etcd lost a deletion: then only
    /// at rest.
    pub strict: bool,
    /// The first thing that did not hold.
    pub violation: Option<String>,
    was: Option<(Data, Option<Meta>)>,
}

impl Checker {
    /// Over a Redis that shall follow `store`.
    pub fn new(store: MemoryStore, prefix: &str) -> Self {
        Self {
            store,
            prefix: prefix.to_owned(),
            strict: true,
            violation: None,
            was: None,
        }
    }

    /// Before a message is handled.
    pub fn before(&mut self, data: &Data) {
        if self.violation.is_none() {
            self.was = Some((data.clone(), self.meta(data)));
        }
    }

    /// After a message was handled.
    pub fn after(&mut self, data: &Data) {
        let Some((before, was)) = self.was.take() else {
            return;
        };
        if before == *data || self.violation.is_some() {
            return;
        }
        self.violation = self.judge(&before, was, data).err();
    }

    fn judge(&self, before: &Data, was: Option<Meta>, data: &Data) -> Result<(), String> {
        let Some(meta) = self.meta(data) else {
            return Ok(());
        };
        if let Some(was) = &was
            && was.epoch == meta.epoch
            && meta.rev < was.rev
        {
            return Err(format!(
                "within an epoch redis goes back from {} to {}",
                was.rev, meta.rev
            ));
        }
        self.judge_entry(before, was.as_ref(), &meta, data)?;
        if let Some(was) = &was {
            self.judge_frozen(before, was.rev, data)?;
        }
        if meta.ready && self.strict {
            self.differs(data, meta.rev).map_or(Ok(()), |what| {
                Err(format!("redis says it is at {}, but {what}", meta.rev))
            })?;
        }
        Ok(())
    }

    /// What is announced is applied once, and follows on what was before.
    fn judge_entry(
        &self,
        before: &Data,
        was: Option<&Meta>,
        meta: &Meta,
        data: &Data,
    ) -> Result<(), String> {
        let (old, new) = (self.stream(before), self.stream(data));
        let Some(Entry {
            id: (to, _),
            fields,
        }) = new.last()
        else {
            return Ok(());
        };
        if old.last() == new.last() {
            return Ok(());
        }
        let field = |name: &str| {
            let at = fields.chunks(2).find(|pair| pair[0] == name);
            at.map_or("", |pair| pair[1].as_str())
        };
        let from: Revision = field("from").parse().unwrap_or(-1);
        let to = Revision::try_from(*to).unwrap_or(-1);
        let rev = was.map_or(0, |was| was.rev);
        let fits = match field("kind") {
            "batch" => from <= rev && rev < to && meta.rev == to,
            "repair" => from == to && rev == to && meta.rev == to,
            "reset" => rev <= to && meta.rev == to,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        Err(format!(
            "at {rev} the entry {fields:?} up to {to} was added"
        ))
    }

    /// An element whose key holds a bad value, and has been there since before
    /// Redis's revision, is not deleted. (An instance may be: it may have lost
    /// its address to another one before its value went bad. So may the
    /// defaults: the settings may have lost them before.)
    fn judge_frozen(&self, before: &Data, rev: Revision, data: &Data) -> Result<(), String> {
        let now = content(data, &self.prefix);
        let gone: Vec<_> = content(before, &self.prefix)
            .into_iter()
            .filter(|(element, _)| !matches!(element, Element::Instance(..)))
            .filter(|(element, _)| !element.is_defaults())
            .filter(|(element, value)| *value != WRONG_TYPE && !now.contains_key(element))
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut table = Table::new();
        for kv in self.store.content_at(Revision::MAX) {
            if kv.create_revision <= rev {
                table.load(&kv);
            }
        }
        let frozen = gone
            .iter()
            .find(|(element, _)| table.held(element) == Held::Frozen);
        frozen.map_or(Ok(()), |(element, _)| {
            Err(format!("{element} is frozen, but was deleted"))
        })
    }

    /// How Redis differs from what etcd's content at `revision` derives to.
    pub fn differs(&self, data: &Data, revision: Revision) -> Option<String> {
        let mut table = Table::new();
        for kv in self.store.content_at(revision) {
            table.load(&kv);
        }
        table.loaded(revision);
        let held = content(data, &self.prefix);
        for (element, value) in &held {
            match table.held(element) {
                Held::Value(want) if *want == **value => {}
                Held::Frozen => {}
                want => return Some(format!("{element} is {value}, not {want:?}")),
            }
        }
        let records = table.records(None, usize::MAX);
        let missing = records
            .iter()
            .find(|change| !held.contains_key(&change.element));
        missing.map(|change| format!("{} is missing", change.element))
    }

    /// Redis's `meta`, if it can be read.
    pub fn meta(&self, data: &Data) -> Option<Meta> {
        let Some(Item::Hash(hash)) = data.get(&format!("{}meta", self.prefix)) else {
            return None;
        };
        match script::found(script::META_FIELDS.map(|field| hash.get(field).cloned())) {
            Found::Table(meta) => Some(meta),
            Found::Nothing | Found::Broken(_) => None,
        }
    }

    fn stream<'a>(&self, data: &'a Data) -> &'a [Entry] {
        match data.get(&format!("{}changes", self.prefix)) {
            Some(Item::Stream(entries, _)) => entries,
            _ => &[],
        }
    }
}

/// The elements of a Redis with their values. What has a wrong type has none.
fn content<'a>(data: &'a Data, prefix: &str) -> BTreeMap<Element, &'a str> {
    let mut content = BTreeMap::new();
    for (key, item) in data {
        let Some((kind, name)) = key.strip_prefix(prefix).and_then(|key| key.split_once(':'))
        else {
            continue;
        };
        match (kind, item) {
            ("inst", Item::Hash(hash)) => content.extend(hash.iter().map(|(id, value)| {
                (
                    Element::Instance(name.into(), id.as_str().into()),
                    value.as_str(),
                )
            })),
            ("inst", _) => {
                content.insert(Element::Instance(name.into(), "".into()), WRONG_TYPE);
            }
            ("route", Item::Text(value)) => {
                content.insert(Element::Route(name.into()), value);
            }
            ("app", Item::Text(value)) => {
                content.insert(Element::App(name.into()), value);
            }
            ("route", _) => {
                content.insert(Element::Route(name.into()), WRONG_TYPE);
            }
            _ => {
                content.insert(Element::App(name.into()), WRONG_TYPE);
            }
        }
    }
    content
}

/// The elements of a Redis, as a scan finds them.
pub fn elements(data: &Data, prefix: &str) -> Vec<Element> {
    content(data, prefix).into_keys().collect()
}
