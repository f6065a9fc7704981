//! `pointsman get`: lists, and single things.

use clap::Subcommand;
use pointsman_client::segment;
use pointsman_model::{AppName, Host, Key, SetName};
use pointsman_wire::{
    AppAnswer, AppList, InstanceItem, RouteAnswer, RouteItem, RouteList, RuleBody, SetAnswer,
    SetList, SettingsAnswer,
};
use serde_json::{Value, json};

use crate::around::{CommandError, CommandReport, Session};
use crate::object::{InstanceName, path};
use crate::table::columns;
use crate::yaml;

/// What to get.
#[derive(Debug, Subcommand)]
pub enum GetCommand {
    /// List the routes
    Routes {
        /// Only hosts that begin so
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Show a route
    Route {
        /// The host: a name, an IP literal, `*.example.com`, or `*`
        #[arg(value_parser = |s: &str| Host::from_user(s))]
        host: Host,
    },
    /// List the apps
    Apps {
        /// Only apps that begin so
        #[arg(long, default_value = "")]
        prefix: String,
    },
    /// Show an app
    App {
        /// The app
        #[arg(value_parser = |s: &str| AppName::new(s))]
        app: AppName,
    },
    /// List the instances of an app
    Instances {
        /// The app
        #[arg(value_parser = |s: &str| AppName::new(s))]
        app: AppName,
    },
    /// Show an instance
    Instance {
        /// App and id, like shop/shop-1
        #[arg(value_name = "APP/ID", value_parser = |s: &str| InstanceName::new(s))]
        name: InstanceName,
    },
    /// Show the settings
    Settings,
    /// List the sets: what was applied together
    Sets,
    /// Show a set
    Set {
        /// The set
        #[arg(value_parser = |s: &str| SetName::new(s))]
        set: SetName,
    },
}

pub(crate) async fn get(
    session: &Session,
    what: GetCommand,
) -> Result<CommandReport, CommandError> {
    let client = &session.client;
    match what {
        GetCommand::Routes { prefix } => {
            let list = routes(session, &prefix).await?;
            Ok(session.show(&list, |list| route_table(session, &list.routes)))
        }
        GetCommand::Route { host } => {
            let answer: RouteAnswer = client.get_json(&path(&Key::Route(host))).await?;
            Ok(session.show(&answer, |answer| match &answer.bad {
                Some(bad) => format!("bad: {}\n", bad.reason),
                None => rules_text(answer.rules.as_deref()),
            }))
        }
        GetCommand::Apps { prefix } => {
            let list = apps(session, &prefix).await?;
            Ok(session.show(&list, |list| app_table(session, list)))
        }
        GetCommand::App { app } => {
            let answer: AppAnswer = client.get_json(&path(&Key::App(app))).await?;
            Ok(session.show(&answer, |answer| match &answer.bad {
                Some(bad) => format!("bad: {}\n", bad.reason),
                None => yaml::text(&json!(answer.policy)),
            }))
        }
        GetCommand::Instances { app } => {
            let answer: AppAnswer = client.get_json(&path(&Key::App(app))).await?;
            Ok(session.show(&answer.instances, |all| instance_table(session, all)))
        }
        GetCommand::Instance { name } => {
            let item = instance(session, &name).await?;
            let all = std::slice::from_ref(&item);
            Ok(session.show(&item, |_| instance_table(session, all)))
        }
        GetCommand::Settings => {
            let answer: SettingsAnswer = client.get_json("/v1/settings").await?;
            Ok(session.show(&answer, |answer| match &answer.bad {
                Some(bad) => format!("bad: {}\n", bad.reason),
                None => yaml::text(&json!(answer.settings)),
            }))
        }
        GetCommand::Sets => {
            let list: SetList = client.get_json("/v1/sets").await?;
            Ok(session.show(&list, |list| {
                let rows = list.sets.iter().map(|set| {
                    let (members, revision) = (set.members.len(), set.revision);
                    [set.set.clone(), members.to_string(), revision.to_string()]
                });
                columns(session.paint, ["SET", "MEMBERS", "REVISION"], rows)
            }))
        }
        GetCommand::Set { set } => {
            let path = format!("/v1/sets/{}", segment(set.as_str()));
            let answer: SetAnswer = client.get_json(&path).await?;
            Ok(session.show(&answer, |answer| {
                let members = answer.members.iter();
                members.map(|member| format!("{member}\n")).collect()
            }))
        }
    }
}

/// All pages of the list of routes, as one.
pub(crate) async fn routes(session: &Session, prefix: &str) -> Result<RouteList, CommandError> {
    let mut all = RouteList {
        routes: Vec::new(),
        next: None,
        revision: 0,
    };
    loop {
        let path = page("routes", prefix, all.next.as_deref());
        let list: RouteList = session.client.get_json(&path).await?;
        all.routes.extend(list.routes);
        (all.next, all.revision) = (list.next, list.revision);
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

/// All pages of the list of apps, as one.
pub(crate) async fn apps(session: &Session, prefix: &str) -> Result<AppList, CommandError> {
    let mut all = AppList {
        apps: Vec::new(),
        next: None,
        revision: 0,
    };
    loop {
        let path = page("apps", prefix, all.next.as_deref());
        let list: AppList = session.client.get_json(&path).await?;
        all.apps.extend(list.apps);
        (all.next, all.revision) = (list.next, list.revision);
        if all.next.is_none() {
            return Ok(all);
        }
    }
}

fn page(list: &str, prefix: &str, cursor: Option<&str>) -> String {
    let cursor = cursor.map(|cursor| format!("&cursor={}", segment(cursor)));
    let (prefix, cursor) = (segment(prefix), cursor.unwrap_or_default());
    format!("/v1/{list}?limit=1000&prefix={prefix}{cursor}")
}

/// One instance, out of its app.
pub(crate) async fn instance(
    session: &Session,
    InstanceName(app, id): &InstanceName,
) -> Result<InstanceItem, CommandError> {
    let answer: AppAnswer = session
        .client
        .get_json(&path(&Key::App(app.clone())))
        .await?;
    let mut all = answer.instances.into_iter();
    let item = all.find(|item| item.id == id.as_str());
    item.ok_or_else(|| CommandError::Refused(format!("the app {app} has no instance {id}")))
}

fn route_table(session: &Session, routes: &[RouteItem]) -> String {
    let rows = routes.iter().map(|route| {
        let to = match &route.rules {
            Some(rules) => targets(rules),
            None => "(bad value)".to_owned(),
        };
        let rules = route.rules.as_ref().map_or(0, Vec::len).to_string();
        [route.host.clone(), rules, to, route.revision.to_string()]
    });
    columns(session.paint, ["HOST", "RULES", "TO", "REVISION"], rows)
}

/// Where rules lead, in short: `blue 90, green 10; redirect`.
fn targets(rules: &[RuleBody]) -> String {
    let rules = rules.iter().map(|rule| match &rule.to {
        Some(to) if to.len() == 1 => to[0].app.clone(),
        Some(to) => {
            let to = to
                .iter()
                .map(|to| format!("{} {}", to.app, to.weight.unwrap_or(100)));
            to.collect::<Vec<_>>().join(", ")
        }
        None if rule.redirect.is_some() => "redirect".to_owned(),
        None => "maintenance".to_owned(),
    });
    let mut shown: Vec<_> = rules.collect();
    shown.dedup();
    shown.join("; ")
}

/// Rules as a document of them.
pub(crate) fn rules_text(rules: Option<&[RuleBody]>) -> String {
    yaml::text(&json!({ "rules": rules }))
}

fn app_table(session: &Session, list: &AppList) -> String {
    let rows = list.apps.iter().map(|app| {
        let policy = app.revision.map(|revision| revision.to_string());
        [
            app.app.clone(),
            app.instances.to_string(),
            app.live.to_string(),
            policy.unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let header = ["APP", "INSTANCES", "LIVE", "POLICY REVISION"];
    columns(session.paint, header, rows)
}

/// Instances with their states.
pub(crate) fn instance_table(session: &Session, instances: &[InstanceItem]) -> String {
    let rows = instances.iter().map(|item| {
        let owner = item.shadowed_by.as_ref();
        let owner = owner.map(|owner| format!("by {}/{}", owner.app, owner.id));
        [
            item.id.clone(),
            item.addr.clone().unwrap_or_default(),
            item.weight.map(|n| n.to_string()).unwrap_or_default(),
            item.zone.clone().unwrap_or_else(|| "-".to_owned()),
            word(&json!(item.state)),
            item.revision.to_string(),
            item.reason.clone().or(owner).unwrap_or_default(),
        ]
    });
    let header = ["ID", "ADDR", "WEIGHT", "ZONE", "STATE", "REVISION", "WHY"];
    columns(session.paint, header, rows)
}

/// A word of the wire, as text.
pub(crate) fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
