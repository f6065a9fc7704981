//! The commands that talk to an agent: how far the edges are, waiting, draining.
//!
//! Each answers with a [`CommandReport`]: what goes to standard output, and the exit
//! code. Nothing here prints.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use hyper::Method;
use pointsman_client::{API_VARIABLE, AgentClient, CallError, DEFAULT_API, instance_path, segment};
use pointsman_model::{AppName, EdgeName, InstanceId};
use pointsman_wire::{Changed, Code, EdgeList, EdgeWord, LackingItem, LackingWord, ProblemBody};
use serde::Serialize;

mod table;

use table::columns;

/// Done.
pub const DONE: u8 = 0;
/// Refused, or no agent answered.
pub const REFUSED: u8 = 1;
/// Not live, or not drained, in time.
pub const NOT_IN_TIME: u8 = 3;

/// A command for an agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// Show the edges: how far each is, and what is in flight on draining instances
    Edges(EdgesArgs),
    /// Wait until a revision is live on every edge
    Wait(WaitArgs),
    /// Take an instance out of use, and wait until nothing is in flight on it
    Drain(DrainArgs),
    /// Let a draining instance get requests again
    Undrain(UndrainArgs),
    /// Show what the agent does
    Status(AgentArgs),
}

/// Where the agent is, and how its answers are shown.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The agent's admin API
    #[arg(long, value_name = "URL", env = API_VARIABLE, default_value = DEFAULT_API)]
    pub api: String,

    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs, as the API answers
    Json,
}

/// The arguments of `pointsman edges`.
#[derive(Debug, Args)]
pub struct EdgesArgs {
    /// Forget an edge that is missing, and gone for good
    #[arg(long, value_name = "EDGE", value_parser = |s: &str| EdgeName::new(s))]
    pub forget: Option<EdgeName>,

    /// Where the agent is
    #[command(flatten)]
    pub agent: AgentArgs,
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

    /// Where the agent is
    #[command(flatten)]
    pub agent: AgentArgs,
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

    /// Where the agent is
    #[command(flatten)]
    pub agent: AgentArgs,
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

    /// Where the agent is
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// What a command has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandReport {
    /// For standard output.
    pub text: String,
    /// For standard error; empty if all is well.
    pub complaint: String,
    /// The exit code.
    pub code: u8,
}

/// Reads a duration of at most ten minutes, which is what the API takes.
pub fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration <= Duration::from_secs(600) => Ok(duration),
        _ => Err("a duration from 0s to 10m is accepted, like 30s".to_owned()),
    }
}

impl AgentCommand {
    /// Runs it.
    pub async fn run(self) -> CommandReport {
        match self {
            Self::Edges(args) => edges(args).await,
            Self::Wait(args) => {
                let call =
                    async |client: AgentClient| client.wait(args.revision, args.timeout).await;
                let said = |edges: &[String]| {
                    format!("revision {} is live: {}\n", args.revision, named(edges))
                };
                answer(&args.agent, call, |waited| said(&waited.edges)).await
            }
            Self::Drain(args) => {
                let (app, id) = (args.app.as_str(), args.id.as_str());
                let call = async |client: AgentClient| client.drain(app, id, args.timeout).await;
                answer(&args.agent, call, |drained| {
                    format!("{app}/{id} is drained: {}\n", named(&drained.edges))
                })
                .await
            }
            Self::Undrain(args) => {
                let (app, id) = (args.app.as_str(), args.id.as_str());
                let path = format!("{}/draining", instance_path(app, id));
                answer(&args.agent, delete(&path), |changed: &Changed| {
                    let revision = changed.revision;
                    format!("{app}/{id} gets requests again, from revision {revision} on\n")
                })
                .await
            }
            Self::Status(args) => {
                let call = async |client: AgentClient| client.status().await;
                answer(&args, call, status).await
            }
        }
    }
}

async fn edges(args: EdgesArgs) -> CommandReport {
    let Some(name) = &args.forget else {
        let call = async |client: AgentClient| client.edges().await;
        return answer(&args.agent, call, edge_table).await;
    };
    let path = format!("/v1/edges/{}", segment(name.as_str()));
    answer(&args.agent, delete(&path), |_: &Changed| {
        format!("the edge {name} is forgotten\n")
    })
    .await
}

fn delete(path: &str) -> impl AsyncFnOnce(AgentClient) -> Result<Changed, CallError> {
    async move |client| {
        client
            .call(Method::DELETE, path, None, Duration::ZERO)
            .await
    }
}

/// Makes a call, and shows its answer.
async fn answer<T: Serialize>(
    args: &AgentArgs,
    call: impl AsyncFnOnce(AgentClient) -> Result<T, CallError>,
    show: impl FnOnce(&T) -> String,
) -> CommandReport {
    let answered = match AgentClient::new(&args.api) {
        Ok(client) => call(client).await,
        Err(error) => Err(error),
    };
    match (answered, args.output) {
        (Ok(body), Output::Text) => CommandReport {
            text: show(&body),
            complaint: String::new(),
            code: DONE,
        },
        (Ok(body), Output::Json) => CommandReport {
            text: json(&body),
            complaint: String::new(),
            code: DONE,
        },
        (Err(error), output) => failed(&error, output),
    }
}

fn failed(error: &CallError, output: Output) -> CommandReport {
    let problem = error.problem();
    let lacking = problem.and_then(|problem| problem.lacking.as_deref());
    let code = match problem.map(|problem| problem.code) {
        Some(Code::NotLive | Code::NotDrained) => NOT_IN_TIME,
        _ => REFUSED,
    };
    let text = match (problem, output) {
        (Some(problem), Output::Json) => json(problem),
        (Some(_), Output::Text) => lacking.map(lacking_table).unwrap_or_default(),
        (None, _) => String::new(),
    };
    let complaint = match problem {
        Some(problem) => sentence(problem),
        None => error.to_string(),
    };
    CommandReport {
        text,
        complaint,
        code,
    }
}

fn sentence(problem: &ProblemBody) -> String {
    format!("{} ({})", problem.detail, problem.code.as_str())
}

fn json(body: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(body);
    text.map(|text| text + "\n").unwrap_or_default()
}

fn named(edges: &[String]) -> String {
    match edges.len() {
        0 => "no edge was ever heard from".to_owned(),
        1 => format!("the edge {} confirms it", edges[0]),
        n => format!("{n} edges confirm it"),
    }
}

fn edge_table(list: &EdgeList) -> String {
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
    columns(header, rows)
}

fn lacking_table(lacking: &[LackingItem]) -> String {
    if lacking.is_empty() {
        return String::new();
    }
    let rows = lacking.iter().map(|item| {
        let since = item.since.clone().unwrap_or_default();
        let why = match item.why {
            LackingWord::Missing => format!("missing since {since}"),
            LackingWord::OtherEpoch => "follows another registry".to_owned(),
            LackingWord::Behind => {
                format!("at revision {}", item.applied.unwrap_or_default())
            }
            LackingWord::InFlight => format!("{} in flight", item.in_flight.unwrap_or_default()),
        };
        [item.edge.clone(), why]
    });
    columns(["EDGE", "WHY NOT"], rows)
}

fn status(status: &pointsman_wire::StatusAnswer) -> String {
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
            edge_table(&list.unwrap()),
            "EDGE    STATE    BEHIND  SINCE                 APPLIED  VERSION  WORKERS  DRAINING\n\
             edge-1  live     0                             9        0.1.0    2        shop/1 (3 in flight)\n\
             b       missing          2023-11-14T22:13:20Z\n"
        );
        let none = EdgeList {
            edges: Vec::new(),
            revision: 1,
        };
        assert_eq!(edge_table(&none), "no edge was ever heard from\n");
    }

    #[test]
    fn what_is_not_in_time_has_an_exit_code_of_its_own() {
        let problem = |code: &str, lacking: &str| {
            let body = format!(
                r#"{{"type":"t","title":"t","status":504,"detail":"too late","code":"{code}",
                    "lacking":{lacking},"request_id":"x"}}"#
            );
            CallError::Refused(Box::new(serde_json::from_str(&body).unwrap()))
        };
        let lacking = r#"[{"edge":"a","why":"in_flight","in_flight":2}]"#;
        let report = failed(&problem("not_drained", lacking), Output::Text);
        assert_eq!(report.code, NOT_IN_TIME);
        assert_eq!(report.text, "EDGE  WHY NOT\na     2 in flight\n");
        assert_eq!(report.complaint, "too late (not_drained)");
        let report = failed(&problem("not_found", "null"), Output::Text);
        assert_eq!((report.code, &*report.text), (REFUSED, ""));
    }
}
