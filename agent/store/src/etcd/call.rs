//! One call to etcd: what is tried again, and what its errors mean.

use std::time::Duration;

use etcd_client::Client;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::pauses::Pauses;
use crate::{LeaseId, StoreError};

/// How often a call is tried whose connection could not even be opened.
pub(super) const TRIES: u32 = 4;
const RETRY_PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_millis(200)];

/// What etcd says to a wrong login, and to none where one is needed.
const LOGIN_REFUSED: [&str; 2] = ["authentication failed", "user name is empty"];

/// What etcd says to a token from before the last change of roles or users.
const TOKEN_IS_OLD: &str = "revision of auth store is old";

/// Runs a call within `limit`. A call whose connection could not be opened was
/// never sent, so it is tried again: with one endpoint of several dead, the
/// client hands a share of the calls to the dead one. One whose token is older
/// than the last change of any role or user is refused, until the token is
/// renewed; the client does that for expired ones only.
pub(super) async fn call<T, F>(
    client: &Client,
    limit: Duration,
    mut once: impl FnMut() -> F,
) -> Result<T, StoreError>
where
    F: Future<Output = Result<T, etcd_client::Error>>,
{
    let tries = async {
        let mut tried = 1;
        let mut pauses = Pauses::new(RETRY_PAUSES[0], RETRY_PAUSES[1]);
        loop {
            match once().await {
                Err(error) if tried < TRIES && never_sent(&error) => {
                    sleep(pauses.following()).await;
                    tried += 1;
                }
                Err(error) if tried < TRIES && token_is_old(&error) => {
                    client.refresh_token().await.map_err(classify)?;
                    tried += 1;
                }
                outcome => return outcome.map_err(classify),
            }
        }
    };
    timeout(limit, tries).await.map_err(timed_out)?
}

fn never_sent(error: &etcd_client::Error) -> bool {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return false;
    };
    let mut source = std::error::Error::source(status);
    while let Some(cause) = source {
        if cause.is::<tonic::ConnectError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

fn token_is_old(error: &etcd_client::Error) -> bool {
    matches!(error, etcd_client::Error::GRpcStatus(status)
        if status.code() == Code::InvalidArgument && status.message().contains(TOKEN_IS_OLD))
}

pub(super) fn timed_out(elapsed: tokio::time::error::Elapsed) -> StoreError {
    StoreError::Unavailable(Box::new(elapsed))
}

pub(super) fn with_lease(error: StoreError, lease: LeaseId) -> StoreError {
    match error {
        StoreError::NoLease(_) => StoreError::NoLease(lease),
        other => other,
    }
}

pub(super) fn classify(error: etcd_client::Error) -> StoreError {
    let etcd_client::Error::GRpcStatus(status) = &error else {
        return match error {
            etcd_client::Error::LeaseKeepAliveError(_) => StoreError::NoLease(0),
            other => StoreError::Unavailable(Box::new(other)),
        };
    };
    match status.code() {
        // A wrong login, and none where one is needed, have no code of their
        // own.
        Code::InvalidArgument if LOGIN_REFUSED.iter().any(|m| status.message().contains(m)) => {
            StoreError::Denied(Box::new(error))
        }
        // The only thing that we ask for and that can be missing is a lease.
        Code::NotFound => StoreError::NoLease(0),
        Code::OutOfRange => StoreError::Compacted {
            compact_revision: 0,
        },
        Code::Unauthenticated | Code::PermissionDenied => StoreError::Denied(Box::new(error)),
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Unknown
        | Code::Internal => StoreError::Unavailable(Box::new(error)),
        _ => StoreError::Other(Box::new(error)),
    }
}
