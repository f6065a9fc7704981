//! Reading and writing one thing in the store, and what is answered to it.

use std::future::Future;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pointsman_model::{Bad, Key};
use pointsman_store::{Condition, KeyValue, LeaseId, Op, Revision, StoreError, Written};
use pointsman_wire::BadValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::ApiState;
use super::edges::MadeAt;
use super::extract::etag;
use super::problem::{Code, Problem};
use super::writing::Writing;

/// A thing of the registry: its key, and its path in this API.
pub(super) struct Thing {
    key: Key,
    stored: String,
}

impl Thing {
    pub(super) fn new(key: Key) -> Self {
        let stored = key.to_string();
        Self { key, stored }
    }

    /// Its key in the store.
    pub(super) fn stored(&self) -> &str {
        &self.stored
    }

    /// Writes it, as a part of a transaction.
    pub(super) fn put(&self, value: &[u8], lease: LeaseId) -> Op {
        Op::put(self.stored.clone(), value, lease)
    }

    /// Deletes it, as a part of a transaction.
    pub(super) fn delete(&self) -> Op {
        Op::delete(self.stored.clone())
    }

    /// "the route x", for messages.
    fn shown(&self) -> String {
        self.key.fill(self.key.kind().declaration().noun)
    }

    fn path(&self) -> String {
        let template = self.key.kind().declaration().api.unwrap_or_default();
        encoded(&self.key.fill(template))
    }

    pub(super) fn not_found(&self) -> Problem {
        let detail = self.key.fill(self.key.kind().declaration().absent);
        Problem::new(Code::NotFound, detail)
    }

    /// Refuses a write whose condition does not hold for what is there.
    pub(super) fn check(
        &self,
        condition: Option<Condition>,
        now: Option<&KeyValue>,
    ) -> Result<(), Problem> {
        match condition {
            Some(condition) if !condition.holds(now) => Err(self.refused(condition, now)),
            _ => Ok(()),
        }
    }

    /// Refuses a condition that a DELETE cannot have.
    pub(super) fn may_delete(&self, condition: Option<Condition>) -> Result<(), Problem> {
        if condition == Some(Condition::Absent) {
            let detail = "If-None-Match has no meaning with DELETE";
            return Err(Problem::new(Code::BadPrecondition, detail));
        }
        Ok(())
    }

    /// The answer to a write that was refused for its condition.
    pub(super) fn refused(&self, condition: Condition, now: Option<&KeyValue>) -> Problem {
        let shown = self.shown();
        let detail = match (condition, now) {
            (Condition::Absent, _) => format!("{shown} exists already"),
            (_, None) => format!("{shown} does not exist"),
            (_, Some(kv)) => format!("{shown} was changed at revision {}", kv.mod_revision),
        };
        let problem = Problem::new(Code::PreconditionFailed, detail);
        match now {
            Some(kv) => problem.header(header::ETAG, etag(kv.mod_revision)),
            None => problem,
        }
    }

    /// The answer to a write: the revision, the ETag, and where the thing is
    /// (its name may have been folded).
    pub(super) fn written(&self, revision: Revision) -> Response {
        let mut headers = HeaderMap::new();
        if !Writing::current().dry_run {
            headers.insert(header::ETAG, etag(revision));
        }
        if let Ok(path) = HeaderValue::from_str(&self.path()) {
            headers.insert(header::LOCATION, path);
        }
        (headers, changed(revision)).into_response()
    }
}

impl ApiState {
    /// A call to the store, within the patience of a request.
    pub(super) async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.patience, call).await {
            Ok(outcome) => outcome,
            Err(elapsed) => Err(StoreError::Unavailable(Box::new(elapsed))),
        }
    }

    pub(super) async fn read(&self, thing: &Thing) -> Result<Option<KeyValue>, Problem> {
        let (kv, _) = self.call(self.store.get(&thing.stored)).await?;
        Ok(kv)
    }

    pub(super) async fn write(
        &self,
        thing: &Thing,
        value: &str,
        lease: LeaseId,
        condition: Condition,
    ) -> Result<Revision, Problem> {
        let put = self
            .store
            .put(&thing.stored, value.as_bytes(), lease, condition);
        match self.call(put).await? {
            Written::Done(revision) => {
                tracing::info!(key = thing.stored, revision, "put");
                Ok(revision)
            }
            Written::Conflict(now) => Err(thing.refused(condition, now.as_ref())),
        }
    }

    pub(super) async fn delete(
        &self,
        thing: &Thing,
        condition: Option<Condition>,
    ) -> Result<Response, Problem> {
        thing.may_delete(condition)?;
        let wanted = condition.unwrap_or(Condition::Present);
        match self.call(self.store.delete(&thing.stored, wanted)).await? {
            Written::Done(revision) => Ok(deleted(thing, revision)),
            Written::Conflict(None) if condition.is_none() => Err(thing.not_found()),
            Written::Conflict(now) => Err(thing.refused(wanted, now.as_ref())),
        }
    }
}

/// The answer to a deletion.
pub(super) fn deleted(thing: &Thing, revision: Revision) -> Response {
    tracing::info!(key = thing.stored, revision, "deleted");
    changed(revision)
}

/// The answer to a write. It carries the revision to the layer that may wait.
fn changed(revision: Revision) -> Response {
    let answer = Writing::current().answer(revision);
    let mut response = json_body(&answer);
    if let Some(revision) = answer.revision {
        response.extensions_mut().insert(MadeAt(revision));
    }
    response
}

/// The answer to a read.
pub(super) fn shown(body: &impl Serialize, revision: Option<Revision>) -> Response {
    let mut response = json_body(body);
    if let Some(revision) = revision {
        response.headers_mut().insert(header::ETAG, etag(revision));
    }
    response
}

/// The answer to a reader that has this revision already.
pub(super) fn not_modified(revision: Revision) -> Response {
    let tag = [(header::ETAG, etag(revision))];
    (StatusCode::NOT_MODIFIED, tag).into_response()
}

/// Compact JSON with a newline behind it, for terminals.
pub(super) fn json_body(body: &impl Serialize) -> Response {
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, format!("{}\n", json!(body))).into_response()
}

/// A path; only brackets of IPv6 hosts need it.
fn encoded(path: &str) -> String {
    const BRACKETS: &AsciiSet = &CONTROLS.add(b'[').add(b']');
    utf8_percent_encode(path, BRACKETS).to_string()
}

/// What the model wrote, as the API's type.
pub(super) fn of_model<T: DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|error| {
        tracing::error!(%error, text, "the API cannot show what the model wrote");
        Problem::new(Code::Internal, "see the agent's log under this request id")
    })
}

pub(super) fn bad_value(bad: &Bad) -> BadValue {
    BadValue {
        code: bad.code.as_str().to_owned(),
        reason: bad.detail.clone(),
    }
}
