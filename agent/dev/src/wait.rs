//! Waiting for a state, with a deadline, and with the last state seen in the
//! error. Nothing here or in the tests sleeps and hopes.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

/// First pause between two looks; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// A state was not reached in time.
#[derive(Debug, thiserror::Error)]
#[error("{what}: not so after {} ms; last seen: {last}", .waited.as_millis())]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub waited: Duration,
    /// What was there instead.
    pub last: String,
}

/// Calls `probe` until it answers `Ok`, at most for `limit`. An `Err` says
/// what it saw instead.
pub async fn until<T, F>(what: &str, limit: Duration, mut probe: F) -> Result<T, TimedOut>
where
    F: AsyncFnMut() -> Result<T, String>,
{
    let begin = Instant::now();
    let deadline = begin + limit;
    let mut pause = FIRST_PAUSE;
    let mut last = String::from("nothing (the first look did not end)");
    loop {
        match timeout_at(deadline, probe()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(seen)) => last = seen,
            Err(_) => {}
        }
        if Instant::now() + pause >= deadline {
            return Err(TimedOut {
                what: what.to_owned(),
                waited: begin.elapsed(),
                last,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_what_the_probe_found() {
        let mut left = 3;
        let found = until("counted down", Duration::from_secs(1), async || {
            left -= 1;
            if left == 0 {
                Ok("there")
            } else {
                Err(format!("{left} left"))
            }
        });
        assert_eq!(found.await.unwrap(), "there");
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_names_the_last_state() {
        let never: Result<(), _> = until("the sun rises", Duration::from_secs(1), async || {
            Err("dark".to_owned())
        })
        .await;
        let text = never.unwrap_err().to_string();
        assert!(text.starts_with("the sun rises: not so after"), "{text}");
        assert!(text.ends_with("last seen: dark"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_hangs_does_not_hang_us() {
        let never: Result<(), _> = until("it ends", Duration::from_secs(1), async || {
            std::future::pending().await
        })
        .await;
        assert!(never.is_err());
    }
}
