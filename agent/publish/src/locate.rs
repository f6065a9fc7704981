//! The look at both sides: whether they belong together, and how to go on.

use pointsman_coordinate::claims;
use pointsman_model::Adoption;
use pointsman_store::Revision;
use pointsman_store::pauses::Pauses;
use rand::RngExt;
use tracing::{info, warn};

use super::{LOOK_AGAIN, Publisher, Side};
use crate::sink::{Found, Meta};

/// How to go on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Redis holds a whole table at this revision: go on from it.
    Follow(Revision),
    /// Redis holds none, or, by an operator's word, one to replace.
    Rebuild {
        /// The epoch of the table to replace.
        replaces: Option<String>,
    },
}

impl Start {
    pub(super) const REBUILD: Self = Start::Rebuild { replaces: None };
}

impl Publisher {
    /// Looks at Redis and etcd until they fit together. Gives the watch up if
    /// they did not, or if it does not fit to etcd.
    pub(super) async fn locate(&mut self) -> (String, Start) {
        loop {
            match self.look().await {
                Ok(Ok(found)) => return found,
                Ok(Err(reason)) => {
                    self.mirror.doubt();
                    self.hold(reason);
                }
                Err(()) => {}
            }
            let mut pauses = Pauses::new(LOOK_AGAIN, LOOK_AGAIN).seeded(self.jitter.random());
            self.pass_time(pauses.following()).await;
        }
    }

    /// Publishes why nothing is written, and logs it once.
    pub(super) fn hold(&self, reason: String) {
        self.status.hold(reason);
    }

    /// One look. The inner error says why nothing may be written.
    async fn look(&mut self) -> Result<Result<(String, Start), String>, ()> {
        // Redis first: then etcd, read after it, cannot be behind it by right.
        let found = self.sink.meta().await;
        let found = self.status.heard(Side::Sink, found)?;
        let read = self.store.get("epoch").await;
        let (kv, revision) = self.status.heard(Side::Store, read)?;
        let Some(kv) = kv else {
            return match found {
                Found::Table(meta) => Ok(Err(format!(
                    "etcd names no epoch, but redis holds the table of epoch {} at revision {}: \
                     etcd was emptied or is another cluster (see: pointsman adopt)",
                    meta.epoch, meta.rev
                ))),
                Found::Nothing | Found::Broken(_) => self.name_registry().await,
            };
        };
        let epoch = String::from_utf8_lossy(&kv.value).into_owned();
        // An etcd that went back need not have told its watches yet.
        let seen = self.read().revision();
        if seen > revision || self.mirror.follows() != Some(&epoch) {
            self.doubt();
        }
        let start = match &found {
            Found::Table(meta) if meta.epoch != epoch => {
                self.adopted(&epoch, meta).await?.ok_or_else(|| {
                    format!(
                        "redis holds the table of epoch {}, etcd names {epoch}: one of them was \
                         restored, or they do not belong together (see: pointsman adopt)",
                        meta.epoch
                    )
                })
            }
            Found::Table(meta) if meta.ready && !self.knows_claim(meta).await? => Err(format!(
                "etcd does not know the rebuild {} that redis's table comes from: it was restored \
                 or replaced (see: pointsman adopt)",
                meta.claim
            )),
            found => fit(revision, found, self.sink.format()),
        };
        Ok(start.map(|start| (epoch, start)))
    }

    /// Whether etcd has been at the last rebuild of Redis: its key is never
    /// deleted, and each claim moves it on.
    async fn knows_claim(&mut self, meta: &Meta) -> Result<bool, ()> {
        let read = self.store.get("rebuild").await;
        let (kv, _) = self.status.heard(Side::Store, read)?;
        Ok(kv.map_or(0, |kv| kv.mod_revision) >= meta.claim)
    }

    /// Names a registry that is new on both sides. Another agent may be
    /// quicker: the next look tells.
    async fn name_registry<T>(&mut self) -> Result<T, ()> {
        let named = claims::name_registry(&*self.store).await;
        if let Some((epoch, revision)) = self.status.heard(Side::Store, named)? {
            info!(%epoch, revision, "named a new registry");
        }
        Err(())
    }

    /// Whether an operator gave Redis's table to this epoch.
    async fn adopted(&mut self, epoch: &str, meta: &Meta) -> Result<Option<Start>, ()> {
        let read = self.store.get("adopt").await;
        let (kv, _) = self.status.heard(Side::Store, read)?;
        let adoption = kv.and_then(|kv| Adoption::from_value(&kv.value));
        Ok(adoption
            .filter(|adoption| adoption.epoch == epoch && adoption.replaces == meta.epoch)
            .map(|adoption| {
                warn!(%epoch, replaces = %adoption.replaces, "an operator gave us redis's table");
                Start::Rebuild {
                    replaces: Some(adoption.replaces),
                }
            }))
    }
}

/// How to go on with what Redis holds, which is of etcd's epoch.
fn fit(revision: Revision, found: &Found, format: u32) -> Result<Start, String> {
    let meta = match found {
        Found::Nothing => return Ok(Start::REBUILD),
        Found::Broken(why) => {
            warn!(%why, "redis holds something that is no table of ours");
            return Ok(Start::REBUILD);
        }
        Found::Table(meta) => meta,
    };
    if meta.format > format {
        return Err(format!(
            "redis holds records of format {}, this agent writes {format}: passive until it is \
             upgraded",
            meta.format
        ));
    }
    if meta.rev > revision {
        return Err(format!(
            "etcd has gone back: it is at revision {revision}, redis at {} (see: pointsman adopt)",
            meta.rev
        ));
    }
    // A newer format is written over all records at once.
    let whole = meta.ready && meta.format == format;
    Ok(if whole {
        Start::Follow(meta.rev)
    } else {
        Start::REBUILD
    })
}
