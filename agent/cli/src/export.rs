//! `pointsman export`: all that people write, as `apply` takes it.

use clap::Args;
use pointsman_model::{AppName, Host, InstanceId, Key};
use serde_json::Value;

use crate::around::{CommandError, CommandReport, Output, Session, for_programs};
use crate::get::{apps, routes};
use crate::object::{ObjectReader, canonical, document, instance_fields};
use crate::yaml;

/// The arguments of `pointsman export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Leave out the instances: those that register themselves come back by themselves
    #[arg(long)]
    pub no_instances: bool,
}

pub(crate) async fn export(
    session: &Session,
    args: &ExportArgs,
) -> Result<CommandReport, CommandError> {
    let (mut documents, mut bad) = (Vec::new(), Vec::new());
    let mut reader = ObjectReader::new(&session.client);
    if let Some(found) = reader.find(&Key::Settings).await? {
        match found.value {
            Ok(fields) => documents.push(document(&Key::Settings, &fields)),
            Err(_) => bad.push("settings".to_owned()),
        }
    }
    for item in apps(session, "").await?.apps {
        let Ok(app) = AppName::new(&item.app) else {
            continue;
        };
        let key = Key::App(app.clone());
        match reader.find(&key).await?.map(|found| found.value) {
            Some(Ok(fields)) => documents.push(document(&key, &fields)),
            Some(Err(_)) => bad.push(key.to_string()),
            None => {}
        }
        let answer = reader.app(&app).await?;
        let instances = answer.map_or(&[][..], |answer| &answer.instances);
        for item in instances.iter().filter(|_| !args.no_instances) {
            let Ok(id) = InstanceId::new(&item.id) else {
                continue;
            };
            let key = Key::Instance(app.clone(), id);
            match item.addr {
                Some(_) => documents.push(document(&key, &instance_fields(item))),
                None => bad.push(key.to_string()),
            }
        }
        reader.forget(&app);
    }
    for route in routes(session, "").await?.routes {
        let rules = serde_json::json!({ "rules": route.rules });
        let host = Host::from_key(&route.host).ok();
        let fields = rules.as_object().filter(|_| route.rules.is_some());
        let readable = host.zip(fields).and_then(|(host, fields)| {
            let key = Key::Route(host);
            let fields = canonical(&key, fields).ok()?;
            Some(document(&key, &fields))
        });
        match readable {
            Some(document) => documents.push(document),
            None => bad.push(format!("routes/{}", route.host)),
        }
    }
    let text = match session.output {
        Output::Json => for_programs(&documents, Output::Json),
        _ => documents.iter().map(separated).collect(),
    };
    let mut report = CommandReport::done(text);
    if !bad.is_empty() {
        let bad = bad.join(", ");
        report.complaint = format!("left out, since their values in etcd are bad: {bad}");
        report.code = crate::REFUSED;
    }
    Ok(report)
}

fn separated(document: &Value) -> String {
    format!("---\n{}", yaml::text(document))
}
