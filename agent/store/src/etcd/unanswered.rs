//! Leases whose grant nobody waits for any more.

use std::time::Duration;

use etcd_client::Client;
use tokio::time::sleep;

use super::CALL_TIMEOUT;
use super::call::call;
use crate::LeaseId;
use crate::pauses::Pauses;

/// When a lease is revoked whose grant was not answered.
const REVOKE_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];
const REVOKE_TRIES: u32 = 8;

/// A lease that may have been granted although nobody waits for the answer any
/// more. Dropped as it is, it is revoked.
pub(super) struct Unanswered {
    pub(super) client: Client,
    pub(super) lease: Option<LeaseId>,
}

impl Unanswered {
    pub(super) fn keep(mut self) {
        self.lease = None;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let (client, Some(lease)) = (self.client.clone(), self.lease) else {
            return;
        };
        tokio::spawn(async move {
            // The grant itself may still be on its way.
            let mut pauses = Pauses::new(REVOKE_PAUSES[0], REVOKE_PAUSES[1]);
            for _ in 0..REVOKE_TRIES {
                let revoked = call(&client, CALL_TIMEOUT, || {
                    let mut lease_client = client.lease_client();
                    async move { lease_client.revoke(lease).await }
                });
                if revoked.await.is_ok() {
                    return;
                }
                sleep(pauses.following()).await;
            }
        });
    }
}
