//! Which fields go together, and how defaults lie beneath a policy.

use super::{Balance, Policy, Scheme};
use crate::values::bad_value;
use crate::{Bad, BadCode};

impl Policy {
    /// Refuses fields that contradict each other.
    pub(super) fn check(&self) -> Result<(), Bad> {
        let hashes = self.balance == Some(Balance::Hash);
        if hashes && self.hash_by.is_none() {
            let detail = "\"balance\": \"hash\" needs \"hash_by\", to say what is hashed";
            return Err(Bad::new(BadCode::MissingField, detail).field("hash_by"));
        }
        if !hashes && self.hash_by.is_some() {
            let detail = "\"hash_by\" is for \"balance\": \"hash\" only";
            return Err(bad_value("hash_by", detail));
        }
        if self.buffering == Some(false) && self.retry_5xx == Some(true) {
            let detail = "\"buffering\": false and \"retry_5xx\": true exclude each other: an \
                          answer that is passed on as it comes cannot be taken back";
            return Err(bad_value("buffering", detail));
        }
        if self.server_name.is_some() && self.scheme != Some(Scheme::Https) {
            let detail = "\"server_name\" is for \"scheme\": \"https\" only";
            return Err(bad_value("server_name", detail));
        }
        match self.not_with_grpc() {
            Some((name, why)) if self.scheme == Some(Scheme::Grpc) => {
                let detail = format!("\"{name}\" cannot be with \"scheme\": \"grpc\": {why}");
                Err(bad_value(name, detail))
            }
            _ => Ok(()),
        }
    }

    /// The first field that gRPC excludes.
    fn not_with_grpc(&self) -> Option<(&'static str, &'static str)> {
        let retries = "a gRPC call is sent again only if it was not sent before";
        let excluded = [
            ("retry_5xx", self.retry_5xx == Some(true), retries),
            (
                "retry_idempotency_key",
                self.retry_idempotency_key == Some(true),
                retries,
            ),
            (
                "sticky",
                self.sticky.is_some(),
                "gRPC clients keep no cookies",
            ),
            (
                "buffering",
                self.buffering == Some(false),
                "gRPC answers are never buffered; leave it out",
            ),
        ];
        let found = excluded.into_iter().find(|(_, there, _)| *there);
        found.map(|(name, _, why)| (name, why))
    }

    /// This policy with `defaults` beneath it, field by field. A default that
    /// contradicts a field of this one is left out.
    pub fn over(&self, defaults: &Policy) -> Policy {
        let mut beneath = defaults.clone();
        if self.balance.is_some() {
            beneath.balance = None;
            beneath.hash_by = None;
        }
        if self.not_with_grpc().is_some() && beneath.scheme == Some(Scheme::Grpc) {
            beneath.scheme = None;
        }
        if self.buffering == Some(false) {
            beneath.retry_5xx = None;
        }
        if self.retry_5xx == Some(true) {
            beneath.buffering = None;
        }
        match self.scheme {
            None | Some(Scheme::Https) => {}
            Some(Scheme::Http) => beneath.server_name = None,
            Some(Scheme::Grpc) => {
                beneath.server_name = None;
                beneath.retry_5xx = None;
                beneath.retry_idempotency_key = None;
                beneath.sticky = None;
                beneath.buffering = None;
            }
        }
        self.or(beneath)
    }
}
