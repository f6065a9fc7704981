//! Whether Redis holds what etcd derives to.

use std::time::Duration;

use pointsman_harness::records;
use pointsman_harness::registry::Registry;
use pointsman_harness::wait;

/// Waits until it does.
pub async fn in_step(registry: &Registry, redis_url: &str, limit: Duration) -> Result<(), String> {
    let derives = "Redis holds what etcd derives to";
    let found = wait::until(derives, limit, async || {
        let mut connection = records::connect(redis_url).await?;
        records::in_step(registry, &mut connection).await
    });
    found.await.map_err(|timed_out| timed_out.to_string())
}
