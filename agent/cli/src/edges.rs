//! How far the edges are; waiting for them, and draining.

use std::time::Duration;

use clap::Args;
use hyper::Method;
use pointsman_client::{WriteCondition, instance_path, segment};
use pointsman_model::{AppName, EdgeName, InstanceId};
use pointsman_wire::{EdgeList, EdgeWord};

use crate::around::{CommandError, CommandReport, Session, confirmed};
use crate::table::{Painter, columns};

/// The arguments of `pointsman edges`.
#[derive(Debug, Args)]
pub struct EdgesArgs {
    /// Forget an edge that is missing, and gone for good
    #[arg(long, value_name = "EDGE", value_parser = |s: &str| EdgeName::new(s))]
    pub forget: Option<EdgeName>,
}

/// The arguments of `pointsman wait`.
#[derive(Debug, Args)]
pub struct WaitArgs {
    /// The revision, as the answer to a write has it
    #[arg(value_parser = clap::value_parser!(i64).range(1..))]
    pub revision: i64,

    /// How long to wait
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub timeout: Duration,
}

/// The arguments of `pointsman drain`.
#[derive(Debug, Args)]
pub struct DrainArgs {
    /// The app
    #[arg(value_parser = |s: &str| AppName::new(s))]
    pub app: AppName,

    /// The id of the instance
    #[arg(value_parser = |s: &str| InstanceId::new(s))]
    pub id: InstanceId,

    /// How long to wait; the instance stays draining
    #[arg(long, default_value = "30s", value_parser = duration)]
    pub timeout: Duration,
}

/// The arguments of `pointsman undrain`.
#[derive(Debug, Args)]
pub struct UndrainArgs {
    /// The app
    #[arg(value_parser = |s: &str| AppName::new(s))]
    pub app: AppName,

    /// The id of the instance
    #[arg(value_parser = |s: &str| InstanceId::new(s))]
    pub id: InstanceId,
}

/// Reads a duration of at most ten minutes, which is what the API takes.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= Duration::from_secs(600) => Ok(duration),
        _ => Err("a duration from 0s to 10m is accepted, like 30s".to_owned()),
    }
}

pub(crate) async fn edges(
    session: &Session,
    args: &EdgesArgs,
) -> Result<CommandReport, CommandError> {
    let Some(name) = &args.forget else {
        let list = session.client.edges().await?;
        return Ok(session.show(&list, |list| edge_table(session.paint, list)));
    };
    let path = format!("/v1/edges/{}", segment(name.as_str()));
    let delete = session
        .client
        .write(Method::DELETE, &path, None, WriteCondition::Always, None);
    let said = format!("the edge {name} is forgotten\n");
    Ok(session.show(&delete.await?, |_| said))
}

pub(crate) async fn wait(
    session: &Session,
    revision: i64,
    timeout: Duration,
) -> Result<CommandReport, CommandError> {
    let what = format!("waiting until revision {revision} is live");
    let call = session.client.wait(revision, timeout);
    let waited = session.waiting(&what, call).await?;
    Ok(session.show(&waited, |waited| {
        format!(
            "revision {revision} is live: {}\n",
            confirmed(&waited.edges)
        )
    }))
}

pub(crate) async fn drain(
    session: &Session,
    args: &DrainArgs,
) -> Result<CommandReport, CommandError> {
    let (app, id) = (args.app.as_str(), args.id.as_str());
    let call = session.client.drain(app, id, args.timeout);
    let what = format!("waiting until nothing is in flight on {app}/{id}");
    let drained = session.waiting(&what, call).await?;
    Ok(session.show(&drained, |drained| {
        format!("{app}/{id} is drained: {}\n", confirmed(&drained.edges))
    }))
}

pub(crate) async fn undrain(
    session: &Session,
    args: &UndrainArgs,
) -> Result<CommandReport, CommandError> {
    let (app, id) = (args.app.as_str(), args.id.as_str());
    let path = format!("{}/draining", instance_path(app, id));
    let delete = session
        .client
        .write(Method::DELETE, &path, None, WriteCondition::Always, None);
    Ok(session.show(&delete.await?, |changed| {
        let revision = changed.revision();
        format!("{app}/{id} gets requests again, from revision {revision} on\n")
    }))
}

fn edge_table(paint: Painter, list: &EdgeList) -> String {
    if list.edges.is_empty() {
        return "no edge was ever heard from\n".to_owned();
    }
    let header = [
        "EDGE", "STATE", "BEHIND", "SINCE", "APPLIED", "VERSION", "WORKERS", "DRAINING",
    ];
    let rows = list.edges.iter().map(|edge| {
        let report = edge.report.as_ref();
        let state = match edge.state {
            EdgeWord::Live => "live",
            EdgeWord::Behind => "behind",
            EdgeWord::Missing => "missing",
        };
        let draining = report.map(|report| {
            let all = report.draining.iter();
            let all = all.map(|(instance, count)| format!("{instance} ({count} in flight)"));
            all.collect::<Vec<_>>().join(", ")
        });
        [
            edge.edge.clone(),
            state.to_owned(),
            edge.behind.map(|n| n.to_string()).unwrap_or_default(),
            edge.since.clone().unwrap_or_default(),
            report.map(|r| r.applied.to_string()).unwrap_or_default(),
            report.map(|r| r.version.clone()).unwrap_or_default(),
            report.map(|r| r.workers.to_string()).unwrap_or_default(),
            draining.unwrap_or_default(),
        ]
    });
    columns(paint, header, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_are_shown_as_a_table() {
        let list = serde_json::from_str::<EdgeList>(
            r#"{"revision":9,"edges":[
                {"edge":"edge-1","state":"live","behind":0,"report":{"epoch":"e","applied":9,
                 "version":"0.1.0","started":"2023-11-14T22:13:20Z","workers":2,"status_url":"",
                 "reads_replica":false,"draining":{"shop/1":3}}},
                {"edge":"b","state":"missing","since":"2023-11-14T22:13:20Z","report":null}
            ]}"#,
        );
        assert_eq!(
            edge_table(Painter::new(false), &list.unwrap()),
            "EDGE    STATE    BEHIND  SINCE                 APPLIED  VERSION  WORKERS  DRAINING\n\
             edge-1  live     0                             9        0.1.0    2        shop/1 (3 in flight)\n\
             b       missing          2023-11-14T22:13:20Z\n"
        );
        let none = EdgeList {
            edges: Vec::new(),
            revision: 1,
        };
        let none = edge_table(Painter::new(false), &none);
        assert_eq!(none, "no edge was ever heard from\n");
    }
}
