//! The commands that talk to an agent.
//!
//! Each answers with a [`CommandReport`]: what goes to standard output and to
//! standard error, and the exit code. Only what goes on as things happen is
//! printed meanwhile, through the [`Surroundings`].

use clap::{Args, Subcommand};

mod apply;
mod around;
mod assign;
mod describe;
mod edges;
mod events;
mod explain;
mod export;
mod files;
mod get;
mod object;
mod pause;
mod plan;
mod set;
mod status;
mod table;
mod yaml;

pub use apply::ApplyArgs;
pub use around::{
    AgentArgs, CommandReport, DONE, NOT_IN_TIME, Output, REFUSED, Surroundings, USAGE,
};
pub use describe::DescribeCommand;
pub use edges::{DrainArgs, EdgesArgs, UndrainArgs, WaitArgs, duration};
pub use events::EventsArgs;
pub use explain::ExplainArgs;
pub use export::ExportArgs;
pub use get::GetCommand;
pub use object::InstanceName;
pub use pause::{PauseArgs, ResumeArgs};
pub use set::{ChangeArgs, DeleteCommand, SetCommand};

use around::{CommandError, Session, failed};

/// A command for an agent.
#[derive(Debug, Subcommand)]
pub enum AgentCommand {
    /// List routes, apps, instances or sets, or show one
    Get(OneOf<GetCommand>),
    /// Show all there is to know of a route, an app, an instance or the settings
    Describe(OneOf<DescribeCommand>),
    /// Change fields of a route, an app, an instance or the settings, or make one
    Set(OneOf<SetCommand>),
    /// Delete a route, the policy of an app, an instance or the settings
    Delete(OneOf<DeleteCommand>),
    /// Bring the registry to what files say
    Apply(Plain<ApplyArgs>),
    /// Print all routes, apps, instances and the settings, as `apply` takes them
    Export(Plain<ExportArgs>),
    /// Show the edges: how far each is, and what is in flight on draining instances
    Edges(Plain<EdgesArgs>),
    /// Wait until a revision is live on every edge
    Wait(Plain<WaitArgs>),
    /// Take an instance out of use, and wait until nothing is in flight on it
    Drain(Plain<DrainArgs>),
    /// Let a draining instance get requests again
    Undrain(Plain<UndrainArgs>),
    /// Show why a request goes where it goes, as every edge says
    Explain(Plain<ExplainArgs>),
    /// Show who changed what
    Events(Plain<EventsArgs>),
    /// Let requests to a host wait at the edge, until it is resumed
    Pause(Plain<PauseArgs>),
    /// End the pause of a host
    Resume(Plain<ResumeArgs>),
    /// Show what the agent does
    Status(Plain<StatusArgs>),
}

/// A command with its arguments.
#[derive(Debug, Args)]
pub struct Plain<T: Args> {
    /// Its own arguments.
    #[command(flatten)]
    pub what: T,
    /// Where the agent is.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// A command that is followed by what it is about.
#[derive(Debug, Args)]
pub struct OneOf<T: Subcommand> {
    /// What it is about.
    #[command(subcommand)]
    pub what: T,
    /// Where the agent is.
    #[command(flatten)]
    pub agent: AgentArgs,
}

/// The arguments of `pointsman status`: none.
#[derive(Clone, Copy, Debug, Args)]
pub struct StatusArgs {}

impl AgentCommand {
    /// Runs it.
    pub async fn run(self, around: &Surroundings) -> CommandReport {
        let output = self.agent().output;
        let ran = async {
            let session = Session::open(self.agent(), around)?;
            self.run_with(&session).await
        };
        match ran.await {
            Ok(report) => report,
            Err(error) => failed(&error, output),
        }
    }

    fn agent(&self) -> &AgentArgs {
        match self {
            Self::Get(OneOf { agent, .. })
            | Self::Describe(OneOf { agent, .. })
            | Self::Set(OneOf { agent, .. })
            | Self::Delete(OneOf { agent, .. })
            | Self::Apply(Plain { agent, .. })
            | Self::Export(Plain { agent, .. })
            | Self::Edges(Plain { agent, .. })
            | Self::Wait(Plain { agent, .. })
            | Self::Drain(Plain { agent, .. })
            | Self::Undrain(Plain { agent, .. })
            | Self::Explain(Plain { agent, .. })
            | Self::Events(Plain { agent, .. })
            | Self::Pause(Plain { agent, .. })
            | Self::Resume(Plain { agent, .. })
            | Self::Status(Plain { agent, .. }) => agent,
        }
    }

    async fn run_with(self, session: &Session) -> Result<CommandReport, CommandError> {
        match self {
            Self::Get(get) => get::get(session, get.what).await,
            Self::Describe(describe) => describe::describe(session, describe.what).await,
            Self::Set(set) => set::set(session, set.what).await,
            Self::Delete(delete) => set::delete(session, delete.what).await,
            Self::Apply(apply) => apply::apply(session, apply.what).await,
            Self::Export(export) => export::export(session, &export.what).await,
            Self::Edges(edges) => edges::edges(session, &edges.what).await,
            Self::Wait(wait) => edges::wait(session, wait.what.revision, wait.what.timeout).await,
            Self::Drain(drain) => edges::drain(session, &drain.what).await,
            Self::Undrain(undrain) => edges::undrain(session, &undrain.what).await,
            Self::Explain(explain) => explain::explain(session, &explain.what).await,
            Self::Events(events) => events::events(session, &events.what).await,
            Self::Pause(pause) => pause::pause(session, &pause.what).await,
            Self::Resume(resume) => pause::resume(session, &resume.what).await,
            Self::Status(_) => {
                let answer = session.client.status().await?;
                Ok(session.show(&answer, status::status))
            }
        }
    }
}
