//! How a change comes into a table that others read meanwhile: in steps, each of
//! which holds the table for a moment only, however much changes.
//!
//! One task applies changes, so the table stands still between its steps.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use pointsman_model::Change;
use pointsman_store::{Event, Revision};

use super::{SettingsChange, Table};

/// How many events, or elements, a step takes.
const PIECE: usize = 500;

/// Applies all events of one revision; see [`Table::apply`].
pub(crate) fn apply(table: &RwLock<Table>, revision: Revision, events: &[Event]) -> Vec<Change> {
    if revision <= read(table).revision() {
        return Vec::new();
    }
    take_in(table, revision, events)
}

/// Puts a key right; see [`Table::correct`].
pub(crate) fn correct(table: &RwLock<Table>, event: &Event) -> Vec<Change> {
    let revision = read(table).revision();
    take_in(table, revision, std::slice::from_ref(event))
}

fn take_in(table: &RwLock<Table>, revision: Revision, events: &[Event]) -> Vec<Change> {
    // The settings come first: the keys of a revision are all different ones,
    // so the order makes no difference to what the table becomes.
    let mut settings = SettingsChange::among(events, &read(table));
    let mut touched = match &mut settings {
        Some(change) => change.make(&mut write(table)),
        None => BTreeSet::new(),
    };
    for piece in events.chunks(PIECE) {
        let mut more = write(table).take(piece);
        touched.append(&mut more);
    }
    let touched: Arc<[_]> = touched.into_iter().collect();
    let forgotten = write(table).reach(revision, Arc::clone(&touched));
    drop((settings, forgotten));
    let pieces = touched.chunks(PIECE);
    pieces
        .flat_map(|piece| read(table).changes(piece))
        .collect()
}

/// The table as it is now.
pub(crate) fn read(table: &RwLock<Table>) -> RwLockReadGuard<'_, Table> {
    table.read().unwrap_or_else(PoisonError::into_inner)
}

/// The table, to be changed: hold it for a moment only.
pub(crate) fn write(table: &RwLock<Table>) -> RwLockWriteGuard<'_, Table> {
    table.write().unwrap_or_else(PoisonError::into_inner)
}
