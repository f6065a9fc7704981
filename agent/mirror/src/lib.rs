//! A copy of the registry that follows etcd: [`watch`] lists and then watches,
//! [`table`] is what is held and what it derives to, and [`Mirror`] puts both
//! together for its subscribers.

mod mirror;
pub mod table;
pub mod watch;

pub use mirror::{ListProgress, Listing, Mirror, Progress, SharedTable, Subscription};
