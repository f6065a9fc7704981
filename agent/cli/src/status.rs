//! What an agent does, for people.

use pointsman_wire::StatusAnswer;

pub(crate) fn status(status: &StatusAnswer) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let connected = |connected: bool| match connected {
        true => "connected",
        false => "not connected",
    };
    let rows = [
        (
            "agent",
            format!("{} {}", status.agent.id, status.agent.version),
        ),
        (
            "ready",
            match &status.waiting_for {
                None => "yes".to_owned(),
                Some(reason) => format!("no: {reason}"),
            },
        ),
        ("phase", status.phase.clone()),
        ("on hold", or_none(&status.hold_reason)),
        (
            "etcd",
            format!(
                "{}, revision {}",
                connected(status.etcd.connected),
                status.etcd.revision_seen
            ),
        ),
        (
            "redis",
            format!(
                "{}, revision {}",
                connected(status.redis.connected),
                status.redis.revision_applied
            ),
        ),
        ("last error", or_none(&status.last_error)),
        (
            "records",
            format!(
                "{} routes, {} apps, {} instances",
                status.records.routes, status.records.apps, status.records.instances
            ),
        ),
        ("bad keys", status.bad_total.to_string()),
        ("shadowed", status.shadowed_total.to_string()),
    ];
    let rows = rows.into_iter();
    let rows =
        rows.filter(|(name, value)| value != "-" || !matches!(*name, "on hold" | "last error"));
    let lines = rows.map(|(name, value)| format!("{name:<12}{value}\n"));
    let bad = status.bad.iter();
    let bad = bad.map(|bad| format!("bad key     {}: {}\n", bad.key, bad.reason));
    lines.chain(bad).collect()
}
