//! What a command is given by the program around it, and what it gives back.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use pointsman_client::{API_VARIABLE, AgentClient, CallError, DEFAULT_API};
use pointsman_wire::{Code, LackingItem, LackingWord, ProblemBody};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::table::{Painter, columns};
use crate::yaml;

/// Done.
pub const DONE: u8 = 0;
/// Refused, or no agent answered.
pub const REFUSED: u8 = 1;
/// The command line, or the file with its settings, is not understood.
pub const USAGE: u8 = 2;
/// Not live, or not drained, in time.
pub const NOT_IN_TIME: u8 = 3;

/// What the program around a command offers.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The file with settings; it need not be there.
    pub config: Option<PathBuf>,
    /// Whether standard output takes colours.
    pub colours: bool,
    /// Writes to standard output at once, for what goes on as things happen.
    pub print: fn(&str) -> io::Result<()>,
    /// Shows how far a wait is, in place of what it showed before; `None` where
    /// nobody looks.
    pub progress: Option<fn(&str)>,
}

/// Where the agent is, and how its answers are shown.
#[derive(Debug, Args)]
pub struct AgentArgs {
    /// The agent's admin API; by default that of the configuration file.
    #[arg(
        long,
        value_name = "URL",
        env = API_VARIABLE,
        help = format!("The agent's admin API [default: the configuration file's, or {DEFAULT_API}]"),
        global = true,
        help_heading = "Agent"
    )]
    pub api: Option<String>,

    /// How the answer is shown
    #[arg(short, long, value_enum, default_value_t = Output::Text, global = true, help_heading = "Agent")]
    pub output: Output,

    /// Write settings even if more than half of the live instances get no requests any more then
    #[arg(long, global = true, help_heading = "Agent")]
    pub force: bool,
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people
    Text,
    /// For programs, as the API answers
    Json,
    /// The same as YAML
    Yaml,
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

impl CommandReport {
    /// All is well.
    pub(crate) fn done(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            complaint: String::new(),
            code: DONE,
        }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The agent refuses, or cannot be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What was given is refused before an agent is asked.
    #[error("{0}")]
    Refused(String),
    /// The command line, or the file with its settings, is not understood.
    #[error("{0}")]
    Usage(String),
    /// Something was done before it went wrong.
    #[error("{}", .0.complaint)]
    Midway(Box<CommandReport>),
}

/// The file with settings.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    api: Option<String>,
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: AgentClient,
    pub(crate) output: Output,
    pub(crate) paint: Painter,
    pub(crate) around: Surroundings,
}

impl Session {
    /// The flag, the variable, the file, the default, in this order; nothing is
    /// sent yet.
    pub(crate) fn open(args: &AgentArgs, around: &Surroundings) -> Result<Self, CommandError> {
        let api = match &args.api {
            Some(api) => Some(api.clone()),
            None => read_config(around)?.api,
        };
        let client = AgentClient::new(api.as_deref().unwrap_or(DEFAULT_API));
        Ok(Self {
            client: client
                .map_err(|error| CommandError::Usage(error.to_string()))?
                .forced(args.force),
            output: args.output,
            paint: Painter::new(around.colours && args.output == Output::Text),
            around: around.clone(),
        })
    }

    /// An answer in the form that was asked for.
    pub(crate) fn show<T: Serialize>(
        &self,
        body: &T,
        text: impl FnOnce(&T) -> String,
    ) -> CommandReport {
        CommandReport::done(match self.output {
            Output::Text => text(body),
            other => for_programs(body, other),
        })
    }

    /// Waits for a call that may take its time, and shows that it does.
    pub(crate) async fn waiting<T>(&self, what: &str, call: impl Future<Output = T>) -> T {
        let Some(show) = self.around.progress else {
            return call.await;
        };
        let begun = Instant::now();
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        tokio::pin!(call);
        let answer = loop {
            tokio::select! {
                answer = &mut call => break answer,
                _ = ticks.tick() => show(&format!("{what}: {} s", begun.elapsed().as_secs())),
            }
        };
        show("");
        answer
    }
}

fn read_config(around: &Surroundings) -> Result<ConfigFile, CommandError> {
    let Some(path) = &around.config else {
        return Ok(ConfigFile::default());
    };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ConfigFile::default()),
        Err(error) => {
            let complaint = format!("{} cannot be read: {error}", path.display());
            return Err(CommandError::Usage(complaint));
        }
    };
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text[..at.min(text.len())].matches('\n').count() + 1;
        let (path, reason) = (path.display(), error.message());
        CommandError::Usage(format!("{path}, line {line}: {reason}"))
    })
}

/// What is said of a command that failed.
pub(crate) fn failed(error: &CommandError, output: Output) -> CommandReport {
    let problem = match error {
        CommandError::Midway(report) => return report.as_ref().clone(),
        CommandError::Call(error) => error.problem(),
        _ => None,
    };
    let text = match (problem, output) {
        (Some(problem), Output::Text) => lacking_table(problem.lacking.as_deref()),
        (Some(problem), other) => for_programs(problem, other),
        (None, _) => String::new(),
    };
    CommandReport {
        text,
        complaint: complaint(error),
        code: code(error),
    }
}

/// The sentence for a failure.
pub(crate) fn complaint(error: &CommandError) -> String {
    match error {
        CommandError::Call(CallError::Refused(problem)) => sentence(problem),
        _ => error.to_string(),
    }
}

/// The exit code of a failure.
pub(crate) fn code(error: &CommandError) -> u8 {
    match error {
        CommandError::Usage(_) => USAGE,
        CommandError::Call(error) => match error.problem().map(|problem| problem.code) {
            Some(Code::NotLive | Code::NotDrained) => NOT_IN_TIME,
            _ => REFUSED,
        },
        CommandError::Midway(report) => report.code,
        CommandError::Refused(_) => REFUSED,
    }
}

fn sentence(problem: &ProblemBody) -> String {
    let (detail, code) = (&problem.detail, problem.code.as_str());
    format!("{detail} ({code})")
}

/// A body as JSON or YAML.
pub(crate) fn for_programs(body: &impl Serialize, output: Output) -> String {
    let value = serde_json::to_value(body).unwrap_or(Value::Null);
    match output {
        Output::Yaml => yaml::text(&value),
        _ => format!("{value:#}\n"),
    }
}

/// Which edges hold something up.
pub(crate) fn lacking_table(lacking: Option<&[LackingItem]>) -> String {
    let Some(lacking) = lacking.filter(|lacking| !lacking.is_empty()) else {
        return String::new();
    };
    let rows = lacking.iter().map(|item| {
        let since = item.since.clone().unwrap_or_default();
        let why = match item.why {
            LackingWord::Missing => format!("missing since {since}"),
            LackingWord::OtherEpoch => "follows another registry".to_owned(),
            LackingWord::Behind => format!("at revision {}", item.applied.unwrap_or_default()),
            LackingWord::InFlight => format!("{} in flight", item.in_flight.unwrap_or_default()),
        };
        [item.edge.clone(), why]
    });
    columns(Painter::new(false), ["EDGE", "WHY NOT"], rows)
}

/// Which edges confirm something.
pub(crate) fn confirmed(edges: &[String]) -> String {
    match edges.len() {
        0 => "no edge was ever heard from".to_owned(),
        1 => format!("the edge {} confirms it", edges[0]),
        n => format!("{n} edges confirm it"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;
    use std::sync::Mutex;

    use super::*;

    pub(crate) fn surroundings() -> Surroundings {
        Surroundings {
            config: None,
            colours: false,
            print: |_| Ok(()),
            progress: None,
        }
    }

    #[test]
    fn what_is_not_in_time_has_an_exit_code_of_its_own() {
        let problem = |code: &str, lacking: &str| {
            let body = format!(
                r#"{{"type":"t","title":"t","status":504,"detail":"too late","code":"{code}",
                    "lacking":{lacking},"request_id":"x"}}"#
            );
            CommandError::Call(CallError::Refused(Box::new(
                serde_json::from_str(&body).unwrap(),
            )))
        };
        let lacking = r#"[{"edge":"a","why":"in_flight","in_flight":2}]"#;
        let report = failed(&problem("not_drained", lacking), Output::Text);
        assert_eq!(report.code, NOT_IN_TIME);
        assert_eq!(report.text, "EDGE  WHY NOT\na     2 in flight\n");
        assert_eq!(report.complaint, "too late (not_drained)");
        let report = failed(&problem("not_found", "null"), Output::Text);
        assert_eq!((report.code, &*report.text), (REFUSED, ""));
        let report = failed(&problem("not_found", "null"), Output::Yaml);
        assert!(report.text.contains("code: not_found\n"), "{}", report.text);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_shows_for_how_long_and_clears_the_line() {
        static SHOWN: Mutex<Vec<String>> = Mutex::new(Vec::new());
        let mut around = surroundings();
        around.progress = Some(|text| SHOWN.lock().unwrap().push(text.to_owned()));
        let args = AgentArgs {
            api: Some("http://agent:1".to_owned()),
            output: Output::Text,
            force: false,
        };
        let session = Session::open(&args, &around).unwrap();
        let call = tokio::time::sleep(Duration::from_millis(1500));
        session.waiting("waiting", call).await;
        let shown = SHOWN.lock().unwrap().clone();
        assert_eq!(shown, ["waiting: 0 s", "waiting: 1 s", ""]);
    }

    #[test]
    fn the_flag_comes_before_the_file_and_the_file_before_the_default() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "# mine\napi = \"http://agent:1\"").unwrap();
        let mut around = surroundings();
        let opened = |api: Option<&str>, around: &Surroundings| {
            let (api, output) = (api.map(str::to_owned), Output::Text);
            let session = Session::open(
                &AgentArgs {
                    api,
                    output,
                    force: false,
                },
                around,
            );
            session.map(|session| format!("{:?}", session.client))
        };
        assert!(opened(None, &around).unwrap().contains("127.0.0.1:8081"));
        around.config = Some(file.path().to_owned());
        assert!(opened(None, &around).unwrap().contains("agent:1"));
        let flag = opened(Some("http://flag:2"), &around).unwrap();
        assert!(flag.contains("flag:2"), "{flag}");
        writeln!(file, "apy = 1").unwrap();
        let error = opened(None, &around).unwrap_err();
        assert_eq!(code(&error), USAGE);
        let text = error.to_string();
        assert!(text.contains(", line 3: unknown field `apy`"), "{text}");
        around.config = Some("/nowhere/at/all".into());
        opened(None, &around).unwrap();
    }
}
