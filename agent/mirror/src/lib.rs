//! A copy of the registry that follows etcd: [`watch`] lists and then watches,
//! [`table`] is what is held, and what it derives to.

use std::sync::{Arc, RwLock};

pub mod table;
pub mod watch;

/// The table as others read it. Hold the guard for microseconds only.
pub type SharedTable = Arc<RwLock<table::Table>>;
