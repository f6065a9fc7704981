//! The guard against a listing that would empty Redis. Deletions that come as
//! events are real; a listing that lacks most of what Redis holds may be a
//! misreading (another cluster, a prefix that was moved, a half restore).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pointsman_mirror::table::{Held, Table};
use pointsman_model::{Confirmation, Element, Kind};
use tokio::time::Instant;
use tracing::info;

use super::{LOOK_AGAIN, Phase, Publisher, Side, Turn};
use crate::sink::{Found, Meta};

/// Fewer removals than this are never held back.
const FEW: usize = 10;
/// How often Redis is counted anew while a listing is held back.
const RECOUNT: Duration = Duration::from_secs(5);

/// How much is held, and how much of it would go, by kind: 300 routes are all
/// that matters, though there are 10,000 instances.
#[derive(Clone, Debug, Default)]
pub(super) struct Losses(BTreeMap<Kind, Loss>);

#[derive(Clone, Copy, Debug, Default)]
struct Loss {
    lacking: usize,
    held: usize,
}

impl Loss {
    /// Whether that is more than one believes without a word.
    fn is_too_much(self) -> bool {
        self.lacking >= FEW && self.lacking * 2 > self.held
    }
}

impl Losses {
    /// Counts so many of a kind, and how many of them would go.
    pub(super) fn count(&mut self, kind: Kind, held: usize, lacking: usize) {
        let weight = kind.declaration().weight;
        let loss = self.0.entry(kind).or_default();
        loss.held += held * weight;
        loss.lacking += lacking * weight;
    }

    /// Counts what Redis holds; the table lacks what it knows nothing of.
    pub(super) fn count_elements(&mut self, table: &Table, elements: &[Element]) {
        for element in elements {
            let lacking = table.held(element) == Held::Nothing && !table.has_key_of(element);
            self.count(element.kind(), 1, usize::from(lacking));
        }
    }

    /// How much is held, and how much of it would go, of all kinds together.
    pub(super) fn total(&self) -> (usize, usize) {
        let all = self.0.values();
        all.fold((0, 0), |(held, lacking), loss| {
            (held + loss.held, lacking + loss.lacking)
        })
    }

    /// What is more than one believes without a word, of any kind or of all
    /// together: "300 of the 300 routes".
    pub(super) fn too_much(&self) -> Option<String> {
        let kinds = self.0.iter().filter(|(_, loss)| loss.is_too_much());
        let kinds: Vec<_> = kinds
            .map(|(kind, loss)| shown(*loss, plural(*kind)))
            .collect();
        if !kinds.is_empty() {
            return Some(kinds.join(" and "));
        }
        let (held, lacking) = self.total();
        let total = Loss { lacking, held };
        total.is_too_much().then(|| shown(total, "records"))
    }
}

/// All that is lacking: "300 of the 300 routes, 2 of the 9 apps".
impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.0.iter().filter(|(_, loss)| loss.lacking > 0);
        let kinds: Vec<_> = kinds
            .map(|(kind, loss)| shown(*loss, plural(*kind)))
            .collect();
        f.write_str(&kinds.join(", "))
    }
}

fn shown(Loss { lacking, held }: Loss, what: &str) -> String {
    format!("{lacking} of the {held} {what}")
}

/// The word for several of a kind is what their keys begin with.
fn plural(kind: Kind) -> &'static str {
    kind.declaration().prefix().trim_end_matches('/')
}

impl Publisher {
    /// Holds while the table lacks more than half of what Redis holds of any
    /// kind, until it no longer does or an operator confirms.
    pub(super) async fn guard(&mut self) -> Result<(), Turn> {
        let Found::Table(meta) = self.meta().await else {
            return Ok(());
        };
        loop {
            let losses = self.count_lacking().await;
            let Some(what) = losses.too_much() else {
                self.status.set_phase(Phase::Rebuilding, None);
                return Ok(());
            };
            self.hold(format!(
                "a listing of etcd lacks {what} that redis holds at revision {}: if that is right, \
                 run: pointsman confirm",
                meta.rev
            ));
            let recount = Instant::now() + RECOUNT;
            while Instant::now() < recount {
                if self.confirmed(&meta).await {
                    info!(%losses, "an operator confirmed the removal");
                    self.status.set_phase(Phase::Rebuilding, None);
                    return Ok(());
                }
                if self.meta().await != Found::Table(meta.clone()) {
                    return Err(Turn::ListAgain("redis has changed meanwhile".into()));
                }
                self.follow_until(Instant::now() + LOOK_AGAIN).await?;
            }
        }
    }

    /// What Redis holds, and what of it the table lacks.
    async fn count_lacking(&mut self) -> Losses {
        let sink = Arc::clone(&self.sink);
        let mut losses = Losses::default();
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let mut page = self.answered(|| sink.scan(at)).await;
            cursor = page.next;
            // What went by events is no loss: those are real.
            if let Some(bulk) = &self.bulk {
                page.elements.retain(|element| !bulk.names(element));
            }
            losses.count_elements(&self.read(), &page.elements);
        }
        losses
    }

    async fn confirmed(&mut self, meta: &Meta) -> bool {
        let read = self.store.get("confirm").await;
        let Ok((Some(kv), _)) = self.status.heard(Side::Store, read) else {
            return false;
        };
        Confirmation::from_value(&kv.value)
            .is_some_and(|word| word.epoch == meta.epoch && word.rev == meta.rev)
    }

    pub(super) async fn meta(&mut self) -> Found {
        let sink = Arc::clone(&self.sink);
        self.answered(|| sink.meta()).await
    }
}

#[cfg(test)]
mod tests {
    use pointsman_store::KeyValue;

    use super::*;

    fn losses(of: &[(Kind, usize, usize)]) -> Losses {
        let mut losses = Losses::default();
        for (kind, held, lacking) in of {
            losses.count(*kind, *held, *lacking);
        }
        losses
    }

    #[test]
    fn an_instance_that_is_pending_is_not_lacking() {
        let mut table = Table::new();
        for (revision, key, value) in [
            (2, "pending", "{}"),
            (3, "apps/a", r#"{"health_check":{}}"#),
            (4, "instances/a/1", "10.0.0.1:80"),
        ] {
            let (key, value) = (key.to_owned(), value.as_bytes().to_vec());
            table.load(&KeyValue {
                key,
                value,
                create_revision: revision,
                mod_revision: revision,
                lease: 0,
            });
        }
        table.loaded(4);
        let elements = ["1", "2"].map(|id| Element::Instance("a".into(), id.into()));
        assert_eq!(table.held(&elements[0]), Held::Nothing);
        let mut losses = Losses::default();
        losses.count_elements(&table, &elements);
        assert_eq!(losses.total(), (2, 1));
    }

    #[test]
    fn each_kind_is_judged_by_itself() {
        let all_routes = losses(&[(Kind::Instance, 10_000, 0), (Kind::Route, 300, 300)]);
        assert_eq!(
            all_routes.too_much().as_deref(),
            Some("300 of the 300 routes")
        );
        let two = losses(&[(Kind::Instance, 30, 16), (Kind::App, 15, 15)]);
        let said = two.too_much().unwrap();
        assert_eq!(said, "15 of the 15 apps and 16 of the 30 instances");
    }

    #[test]
    fn a_few_of_each_kind_are_many_together() {
        let of_each = [Kind::Route, Kind::App, Kind::Instance].map(|kind| (kind, 9, 9));
        let said = losses(&of_each).too_much();
        assert_eq!(said.as_deref(), Some("27 of the 27 records"));
    }

    #[test]
    fn half_of_a_kind_or_fewer_than_ten_may_go() {
        assert_eq!(losses(&[(Kind::Route, 9, 9)]).too_much(), None);
        assert_eq!(losses(&[(Kind::Route, 20, 10)]).too_much(), None);
        assert!(losses(&[(Kind::Route, 19, 10)]).too_much().is_some());
        // The registry's own keys are not counted.
        assert_eq!(losses(&[(Kind::Agent, 50, 50)]).too_much(), None);
    }
}
