//! `pointsman pause` and `pointsman resume`: requests to a host wait at the edge.

use std::time::Duration;

use clap::Args;
use pointsman_model::Host;

use crate::around::{CommandError, CommandReport, Session};
use crate::edges::duration;

/// The arguments of `pointsman pause`.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The host of the route: a name, an IP literal, `*.example.com`, or `*`
    #[arg(value_parser = |s: &str| Host::from_user(s))]
    pub host: Host,

    /// How long the pause holds unless it is ended before, 1s to 1h
    #[arg(long = "for", value_name = "TIME", default_value = "30s", value_parser = pause_time)]
    pub time: Duration,

    /// How many requests may wait; beyond it, 503
    #[arg(long, value_name = "N")]
    pub max: Option<u64>,

    /// Wait so long until the pause is live on every edge
    #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// The arguments of `pointsman resume`.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The host of the route: a name, an IP literal, `*.example.com`, or `*`
    #[arg(value_parser = |s: &str| Host::from_user(s))]
    pub host: Host,

    /// Wait so long until the end of the pause is live on every edge
    #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
    pub wait: Option<Duration>,
}

fn pause_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.subsec_nanos() == 0 && (1..=3600).contains(&time.as_secs()) => Ok(time),
        _ => Err("a duration in whole seconds from 1s to 1h is accepted, like 30s".to_owned()),
    }
}

pub(crate) async fn pause(
    session: &Session,
    args: &PauseArgs,
) -> Result<CommandReport, CommandError> {
    let (host, time) = (&args.host, humantime::format_duration(args.time));
    let call = session
        .client
        .pause(host.as_str(), args.time, args.max, args.wait);
    let changed = live(session, args.wait, call).await?;
    Ok(session.show(&changed, |changed| {
        format!(
            "{host} is paused for {time}, revision {}\n",
            changed.revision()
        )
    }))
}

pub(crate) async fn resume(
    session: &Session,
    args: &ResumeArgs,
) -> Result<CommandReport, CommandError> {
    let host = &args.host;
    let call = session.client.resume(host.as_str(), args.wait);
    let changed = live(session, args.wait, call).await?;
    Ok(session.show(&changed, |changed| {
        format!("{host} is resumed, revision {}\n", changed.revision())
    }))
}

/// Shows that a call waits for the edges, if it does.
async fn live<T>(session: &Session, wait: Option<Duration>, call: impl Future<Output = T>) -> T {
    match wait {
        None => call.await,
        Some(_) => session.waiting("waiting until it is live", call).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_has_whole_seconds_up_to_an_hour() {
        assert_eq!(pause_time("90s"), Ok(Duration::from_secs(90)));
        for text in ["0s", "2h", "1500ms", "x"] {
            assert!(pause_time(text).is_err(), "{text}");
        }
    }
}
