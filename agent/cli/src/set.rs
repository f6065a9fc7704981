//! `pointsman set` and `pointsman delete`: one object.

use std::time::Duration;

use clap::{Args, Subcommand};
use hyper::Method;
use pointsman_client::{CallError, WriteCondition};
use pointsman_model::{AppName, Host, Key, json_object};
use pointsman_wire::{Changed, Code};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::around::{CommandError, CommandReport, Session};
use crate::assign::{Assignment, assigned};
use crate::edges::duration;
use crate::object::{
    FoundObject, InstanceName, ObjectFields, ObjectReader, canonical, path, title,
};

/// How often a change is made again on what others have written meanwhile.
const TRIES: usize = 5;
/// How long an agent's table may take to show what others have written.
const TABLE_PATIENCE: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// What to change.
#[derive(Debug, Subcommand)]
pub enum SetCommand {
    /// A route, like: set route shop.example.com app=shop
    Route {
        /// The host: a name, an IP literal, `*.example.com`, or `*`
        #[arg(value_parser = |s: &str| Host::from_user(s))]
        host: Host,
        /// What to change of it
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// The policy of an app, like: set app shop retries=2 health_check.path=/up
    App {
        /// The app
        #[arg(value_parser = |s: &str| AppName::new(s))]
        app: AppName,
        /// What to change of it
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// An instance, like: set instance shop/shop-1 addr=10.0.0.5:8080 weight=50
    Instance {
        /// App and id, like shop/shop-1
        #[arg(value_name = "APP/ID", value_parser = |s: &str| InstanceName::new(s))]
        name: InstanceName,
        /// What to change of it
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// The settings, like: set settings defaults.retries=2
    Settings {
        /// What to change of them
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// What to change.
#[derive(Debug, Args)]
pub struct ChangeArgs {
    /// The fields and their values.
    // rustdoc would take the brackets for links.
    #[arg(
        value_name = "FIELD=VALUE",
        help = "A field and its value; FIELD= removes the field. Fields within fields have dots, \
                items of lists their number: health_check.path=/up, rules[0].to[1].weight=10",
        value_parser = |s: &str| Assignment::new(s)
    )]
    pub changes: Vec<Assignment>,

    /// The whole object instead, as the API takes it
    #[arg(long, value_name = "JSON", conflicts_with = "changes")]
    pub json: Option<String>,

    /// Wait so long until the change is live on every edge
    #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
    pub wait: Option<Duration>,
}

/// What to delete.
#[derive(Debug, Subcommand)]
pub enum DeleteCommand {
    /// A route: the host is unbound
    Route {
        /// The host: a name, an IP literal, `*.example.com`, or `*`
        #[arg(value_parser = |s: &str| Host::from_user(s))]
        host: Host,
        /// Wait so long until the change is live on every edge
        #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
        wait: Option<Duration>,
    },
    /// The policy of an app; its instances stay
    App {
        /// The app
        #[arg(value_parser = |s: &str| AppName::new(s))]
        app: AppName,
        /// Wait so long until the change is live on every edge
        #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
        wait: Option<Duration>,
    },
    /// An instance
    Instance {
        /// App and id, like shop/shop-1
        #[arg(value_name = "APP/ID", value_parser = |s: &str| InstanceName::new(s))]
        name: InstanceName,
        /// Wait so long until the change is live on every edge
        #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
        wait: Option<Duration>,
    },
    /// The settings: all is as by default
    Settings {
        /// Wait so long until the change is live on every edge
        #[arg(long, value_name = "TIMEOUT", value_parser = duration)]
        wait: Option<Duration>,
    },
}

pub(crate) async fn set(
    session: &Session,
    what: SetCommand,
) -> Result<CommandReport, CommandError> {
    let (key, args) = match what {
        SetCommand::Route { host, change } => (Key::Route(host), change),
        SetCommand::App { app, change } => (Key::App(app), change),
        SetCommand::Instance { name, change } => (Key::Instance(name.0, name.1), change),
        SetCommand::Settings { change } => (Key::Settings, change),
    };
    if let Some(json) = &args.json {
        let fields = json_object(&title(&key), json.as_bytes());
        let fields = fields.and_then(|fields| canonical(&key, &fields));
        let fields = fields.map_err(|bad| CommandError::Refused(bad.detail))?;
        let changed = put(session, &key, fields, WriteCondition::Always, args.wait).await?;
        return Ok(said(session, &key, &changed, "set", args.wait));
    }
    if args.changes.is_empty() {
        let complaint = "nothing is to be changed: give FIELD=VALUE, or --json with all of it";
        return Err(CommandError::Usage(complaint.to_owned()));
    }
    let mut found = ObjectReader::new(&session.client).find(&key).await?;
    for left in (0..TRIES).rev() {
        let before = fields_of(&key, found.as_ref())?;
        let after = assigned(&key, &before, &args.changes).map_err(CommandError::Refused)?;
        let (done, condition) = match &found {
            Some(found) if before == after => return unchanged(session, &key, found, &args).await,
            Some(found) => ("changed", WriteCondition::ChangedAt(found.revision)),
            None => ("created", WriteCondition::Absent),
        };
        match put(session, &key, after, condition, args.wait).await {
            Ok(changed) => return Ok(said(session, &key, &changed, done, args.wait)),
            Err(CallError::Refused(problem))
                if problem.code == Code::PreconditionFailed && left > 0 =>
            {
                found = changed_since(session, &key, found).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    let complaint = format!("the {} is changed by others all the time", title(&key));
    Err(CommandError::Refused(complaint))
}

fn fields_of(key: &Key, found: Option<&FoundObject>) -> Result<ObjectFields, CommandError> {
    match found.map(|found| &found.value) {
        None => Ok(ObjectFields::new()),
        Some(Ok(fields)) => Ok(fields.clone()),
        Some(Err(reason)) => {
            let title = title(key);
            let complaint =
                format!("what etcd has of the {title} is bad: {reason}; replace it with --json");
            Err(CommandError::Refused(complaint))
        }
    }
}

/// The object once it shows what others have written. Instances come from the
/// agent's table, which is a moment behind etcd.
pub(crate) async fn changed_since(
    session: &Session,
    key: &Key,
    before: Option<FoundObject>,
) -> Result<Option<FoundObject>, CommandError> {
    let begun = Instant::now();
    loop {
        let found = ObjectReader::new(&session.client).find(key).await?;
        let revision = |found: &Option<FoundObject>| found.as_ref().map(|found| found.revision);
        if revision(&found) != revision(&before) || begun.elapsed() > TABLE_PATIENCE {
            return Ok(found);
        }
        sleep(POLL).await;
    }
}

async fn put(
    session: &Session,
    key: &Key,
    fields: ObjectFields,
    condition: WriteCondition,
    wait: Option<Duration>,
) -> Result<Changed, CallError> {
    let (path, body) = (path(key), Value::Object(fields).to_string());
    let call = session
        .client
        .write(Method::PUT, &path, Some(&body), condition, wait);
    live(session, key, call, wait).await
}

/// Shows that a write waits, if it does.
async fn live<T>(
    session: &Session,
    key: &Key,
    call: impl Future<Output = T>,
    wait: Option<Duration>,
) -> T {
    match wait {
        None => call.await,
        Some(_) => {
            let what = format!("waiting until the {} is live", title(key));
            session.waiting(&what, call).await
        }
    }
}

async fn unchanged(
    session: &Session,
    key: &Key,
    found: &FoundObject,
    args: &ChangeArgs,
) -> Result<CommandReport, CommandError> {
    let revision = found.revision;
    if let Some(wait) = args.wait {
        let call = session.client.wait(revision, wait);
        live(session, key, call, args.wait).await?;
    }
    let changed = Changed::at(revision);
    Ok(said(session, key, &changed, "unchanged", args.wait))
}

fn said(
    session: &Session,
    key: &Key,
    changed: &Changed,
    done: &str,
    wait: Option<Duration>,
) -> CommandReport {
    session.show(changed, |changed| {
        let live = wait.map_or("", |_| ", live on every edge");
        format!(
            "{} {done} at revision {}{live}\n",
            title(key),
            changed.revision()
        )
    })
}

pub(crate) async fn delete(
    session: &Session,
    what: DeleteCommand,
) -> Result<CommandReport, CommandError> {
    let (key, wait) = match what {
        DeleteCommand::Route { host, wait } => (Key::Route(host), wait),
        DeleteCommand::App { app, wait } => (Key::App(app), wait),
        DeleteCommand::Instance { name, wait } => (Key::Instance(name.0, name.1), wait),
        DeleteCommand::Settings { wait } => (Key::Settings, wait),
    };
    let path = path(&key);
    let call = session
        .client
        .write(Method::DELETE, &path, None, WriteCondition::Always, wait);
    let changed = live(session, &key, call, wait).await?;
    Ok(said(session, &key, &changed, "deleted", wait))
}
