//! How agents agree among themselves, through etcd alone: who is there
//! ([`presence`]), which of them probes an instance ([`assign`]).

pub mod assign;
pub mod presence;
