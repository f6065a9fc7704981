//! `pointsman describe`: all there is to know of one object.

use clap::Subcommand;
use pointsman_model::{AppName, Host, Key};
use pointsman_wire::{AppAnswer, InstanceWord, RouteAnswer, RuleBody, SettingsAnswer};
use serde::Serialize;
use serde_json::json;

use crate::around::{CommandError, CommandReport, Session};
use crate::get::{instance_table, routes};
use crate::object::{InstanceName, ObjectReader, path};
use crate::yaml;

/// What to describe.
#[derive(Debug, Subcommand)]
pub enum DescribeCommand {
    /// A route: its rules, and the apps that they lead to
    Route {
        /// The host: a name, an IP literal, `*.example.com`, or `*`
        #[arg(value_parser = |s: &str| Host::from_user(s))]
        host: Host,
    },
    /// An app: its policy, its instances, the hosts that lead to it
    App {
        /// The app
        #[arg(value_parser = |s: &str| AppName::new(s))]
        app: AppName,
    },
    /// An instance: its state, and the policy that it is under
    Instance {
        /// App and id, like shop/shop-1
        #[arg(value_name = "APP/ID", value_parser = |s: &str| InstanceName::new(s))]
        name: InstanceName,
    },
    /// The settings
    Settings,
}

pub(crate) async fn describe(
    session: &Session,
    what: DescribeCommand,
) -> Result<CommandReport, CommandError> {
    match what {
        DescribeCommand::Route { host } => route(session, host).await,
        DescribeCommand::App { app } => describe_app(session, &app).await,
        DescribeCommand::Instance { name } => instance(session, &name).await,
        DescribeCommand::Settings => settings(session).await,
    }
}

/// A route, with the apps that it leads to.
#[derive(Debug, Serialize)]
struct DescribedRoute {
    route: RouteAnswer,
    apps: Vec<AppAnswer>,
}

async fn route(session: &Session, host: Host) -> Result<CommandReport, CommandError> {
    let route: RouteAnswer = session.client.get_json(&path(&Key::Route(host))).await?;
    let mut reader = ObjectReader::new(&session.client);
    let (mut apps, mut without) = (Vec::new(), Vec::new());
    for name in apps_of(route.rules.as_deref().unwrap_or_default()) {
        let Ok(app) = AppName::new(&name) else {
            continue;
        };
        match reader.app(&app).await? {
            Some(answer) => apps.push(answer.clone()),
            None => without.push(name),
        }
    }
    let described = DescribedRoute { route, apps };
    Ok(session.show(&described, |DescribedRoute { route, apps }| {
        let mut text = format!("host        {}\n", route.host);
        text += &format!("revision    {}\n", route.revision);
        if let Some(bad) = &route.bad {
            text += &format!("bad         {}\n", bad.reason);
        }
        if let Some(pause) = &route.pause {
            let left = pause.left.as_deref().unwrap_or("for ever");
            text += &format!("paused      {left}, {} may wait at each edge\n", pause.max);
        }
        text += "\nrules\n";
        text += &indented(&yaml::text(&json!(route.rules)));
        for app in apps {
            let (name, count) = (&app.app, app.instances.len());
            text += &format!("\napp {name}: {} of {count} instances live\n", app.live);
            if count > 0 {
                text += &indented(&instance_table(session, &app.instances));
            }
        }
        for name in without {
            text += &format!("\napp {name}: neither a policy nor an instance: requests get 503\n");
        }
        text
    }))
}

/// An app, with the hosts that lead to it.
#[derive(Debug, Serialize)]
struct DescribedApp {
    #[serde(flatten)]
    app: AppAnswer,
    hosts: Vec<String>,
}

async fn describe_app(session: &Session, app: &AppName) -> Result<CommandReport, CommandError> {
    let answer: AppAnswer = session
        .client
        .get_json(&path(&Key::App(app.clone())))
        .await?;
    let all = routes(session, "").await?.routes.into_iter();
    let bound = all.filter(|route| {
        let rules = route.rules.as_deref().unwrap_or_default();
        apps_of(rules).iter().any(|name| name == app.as_str())
    });
    let described = DescribedApp {
        app: answer,
        hosts: bound.map(|route| route.host).collect(),
    };
    Ok(session.show(&described, |DescribedApp { app, hosts }| {
        let hosts = match hosts.is_empty() {
            true => "none".to_owned(),
            false => hosts.join(", "),
        };
        let mut text = format!("app         {}\nhosts       {hosts}\n", app.app);
        text += &policy(app);
        let (live, count) = (app.live, app.instances.len());
        text += &format!("\ninstances: {live} of {count} live\n");
        if count > 0 {
            text += &indented(&instance_table(session, &app.instances));
        }
        text
    }))
}

async fn instance(session: &Session, name: &InstanceName) -> Result<CommandReport, CommandError> {
    let item = crate::get::instance(session, name).await?;
    let app: AppAnswer = session
        .client
        .get_json(&path(&Key::App(name.0.clone())))
        .await?;
    Ok(session.show(&item, |item| {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let state = crate::get::word(&json!(item.state));
        let rows = [
            ("instance", format!("{}/{}", name.0, item.id)),
            ("addr", or_none(&item.addr)),
            ("weight", item.weight.unwrap_or_default().to_string()),
            ("zone", or_none(&item.zone)),
            ("state", state),
            ("revision", item.revision.to_string()),
        ];
        let rows = rows.into_iter();
        let mut text: String = rows.map(|(k, v)| format!("{k:<12}{v}\n")).collect();
        text += &match (item.state, &item.shadowed_by) {
            (_, Some(owner)) => format!(
                "why         its address belongs to the younger instance {}/{}\n",
                owner.app, owner.id
            ),
            (InstanceWord::NotAllowed, _) => {
                "why         the settings do not allow its address\n".to_owned()
            }
            _ => match &item.reason {
                Some(reason) => format!("why         {reason}\n"),
                None => String::new(),
            },
        };
        text + &policy(&app)
    }))
}

async fn settings(session: &Session) -> Result<CommandReport, CommandError> {
    let answer: SettingsAnswer = session.client.get_json("/v1/settings").await?;
    Ok(session.show(&answer, |answer| {
        let revision = answer.revision.map(|revision| revision.to_string());
        let revision = revision.unwrap_or_else(|| "- (all is as by default)".to_owned());
        let mut text = format!("revision    {revision}\n");
        if let Some(bad) = &answer.bad {
            text += &format!("bad         {}\n", bad.reason);
        }
        text + "\nsettings\n" + &indented(&yaml::text(&json!(answer.settings)))
    }))
}

fn policy(app: &AppAnswer) -> String {
    let Some(revision) = app.revision else {
        return "policy      - (all is as by default)\n".to_owned();
    };
    let shown = match &app.bad {
        Some(bad) => format!("bad: {}\n", bad.reason),
        None => yaml::text(&json!(app.policy)),
    };
    format!("\npolicy, revision {revision}\n{}", indented(&shown))
}

/// The apps that rules lead to, each once.
fn apps_of(rules: &[RuleBody]) -> Vec<String> {
    let targets = rules.iter().flat_map(|rule| rule.to.iter().flatten());
    let mut apps: Vec<_> = targets.map(|target| target.app.clone()).collect();
    apps.sort_unstable();
    apps.dedup();
    apps
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
