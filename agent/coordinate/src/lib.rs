//! How agents agree among themselves, through etcd alone: who is there
//! ([`presence`]), which of them probes an instance ([`assign`]), and which may do
//! what only one may ([`claims`]).

pub mod assign;
pub mod claims;
pub mod presence;
