//! An operator's word, by which agents do what they would not do by
//! themselves: `pointsman adopt` and `pointsman confirm`.

use std::fmt;

use pointsman_mirror::table::{Counts, Table};
use pointsman_model::{Adoption, Confirmation};
use pointsman_store::{Condition, KeyValue, Revision, Store, StoreError, Written};

use crate::guard::Losses;
use crate::sink::{Found, Meta, Sink, SinkError};

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// etcd did not do what it was asked for.
    #[error("etcd was not read or written")]
    Store(#[from] StoreError),
    /// Redis did not do what it was asked for.
    #[error("redis was not read")]
    Sink(#[from] SinkError),
    /// There is nothing to decide.
    #[error("{0}")]
    Nothing(String),
    /// Somebody else decides at the same time.
    #[error("the key \"{0}\" was written by somebody else at the same time; look again")]
    Raced(&'static str),
}

/// What there is on both sides.
#[derive(Clone, Debug)]
pub struct Sides {
    epoch: Option<KeyValue>,
    revision: Revision,
    /// The token of the last rebuild that etcd knows of.
    rebuild: Revision,
    /// What etcd holds.
    pub etcd: Counts,
    redis: Meta,
    /// Records that Redis holds.
    pub held: usize,
    /// Those of them that etcd does not know.
    pub lacking: usize,
    losses: Losses,
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epoch = self.epoch.as_ref().map(name);
        writeln!(
            f,
            "etcd:  epoch {}, revision {}; {} routes, {} apps, {} instances",
            epoch.as_deref().unwrap_or("(none)"),
            self.revision,
            self.etcd.routes,
            self.etcd.apps,
            self.etcd.instances
        )?;
        writeln!(
            f,
            "redis: epoch {}, revision {}; {} records, {} of which etcd does not know",
            self.redis.epoch, self.redis.rev, self.held, self.lacking
        )?;
        if self.lacking > 0 {
            writeln!(f, "       etcd lacks {}", self.losses)?;
        }
        Ok(())
    }
}

/// Looks at both sides.
pub async fn look(store: &dyn Store, sink: &dyn Sink) -> Result<Sides, OperatorError> {
    let redis = match sink.meta().await? {
        Found::Table(meta) => meta,
        Found::Nothing => {
            let text = "redis holds no table: agents will fill it by themselves";
            return Err(OperatorError::Nothing(text.into()));
        }
        Found::Broken(why) => {
            let text = format!("redis holds no table ({why}): agents will fill it by themselves");
            return Err(OperatorError::Nothing(text));
        }
    };
    let (epoch, revision) = store.get("epoch").await?;
    let (rebuild, _) = store.get("rebuild").await?;
    let table = list(store).await?;
    let mut losses = Losses::default();
    let mut cursor = Some(0);
    while let Some(at) = cursor {
        let page = sink.scan(at).await?;
        losses.count_elements(&table, &page.elements);
        cursor = page.next;
    }
    let (held, lacking) = losses.total();
    Ok(Sides {
        epoch,
        revision,
        rebuild: rebuild.map_or(0, |kv| kv.mod_revision),
        etcd: table.counts(),
        redis,
        held,
        lacking,
        losses,
    })
}

/// Gives etcd a new epoch, which may replace the table in Redis; answers it.
pub async fn adopt(store: &dyn Store, sides: &Sides) -> Result<String, OperatorError> {
    let named = sides.epoch.as_ref().map(name);
    if named.as_deref() == Some(&sides.redis.epoch)
        && sides.redis.rev <= sides.revision
        && sides.redis.claim <= sides.rebuild
    {
        let text = "etcd and redis fit together: there is nothing to adopt";
        return Err(OperatorError::Nothing(text.into()));
    }
    let epoch = uuid::Uuid::new_v4().to_string();
    let adoption = Adoption {
        epoch: epoch.clone(),
        replaces: sides.redis.epoch.clone(),
    };
    // Agents act on both keys together, so the order does not matter to them;
    // this one leaves nothing behind that means anything if it breaks off.
    put(store, "adopt", &adoption.to_value(), Condition::Always).await?;
    let unchanged = sides.epoch.as_ref().map_or(Condition::Absent, |kv| {
        Condition::ModRevision(kv.mod_revision)
    });
    put(store, "epoch", &epoch, unchanged).await?;
    Ok(epoch)
}

/// Allows a listing of etcd to remove much from the table in Redis.
pub async fn confirm(store: &dyn Store, sides: &Sides) -> Result<(), OperatorError> {
    let word = Confirmation {
        epoch: sides.redis.epoch.clone(),
        rev: sides.redis.rev,
    };
    put(store, "confirm", &word.to_value(), Condition::Always).await
}

async fn put(
    store: &dyn Store,
    key: &'static str,
    value: &str,
    condition: Condition,
) -> Result<(), OperatorError> {
    match store.put(key, value.as_bytes(), 0, condition).await? {
        Written::Done(_) => Ok(()),
        Written::Conflict(_) => Err(OperatorError::Raced(key)),
    }
}

async fn list(store: &dyn Store) -> Result<Table, StoreError> {
    const PAGE: usize = 10_000;
    let mut table = Table::new();
    let (mut from, mut at) = (Vec::new(), None);
    loop {
        let page = store.list(&from, PAGE, at).await?;
        page.items.iter().for_each(|kv| table.load(kv));
        at = Some(page.revision);
        match page.next {
            Some(next) => from = next,
            None => {
                table.loaded(page.revision);
                return Ok(table);
            }
        }
    }
}

fn name(kv: &KeyValue) -> String {
    String::from_utf8_lossy(&kv.value).into_owned()
}
