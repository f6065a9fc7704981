//! The objects that people write: routes, apps, instances and the settings. The
//! API's own model judges them, so what it would refuse is refused here, too,
//! before anything is sent.

use std::collections::HashMap;
use std::time::Duration;

use pointsman_client::{AgentClient, CallError, segment};
use pointsman_model::{
    AppName, Bad, BadCode, Host, Instance, InstanceId, Key, Policy, Route, Settings,
};
use pointsman_wire::{AppAnswer, Code, InstanceItem, RouteAnswer, SettingsAnswer};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::around::CommandError;

/// The fields of an object.
pub(crate) type ObjectFields = Map<String, Value>;

/// An object as an agent shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FoundObject {
    /// Its fields, or why the value in etcd is none.
    pub(crate) value: Result<ObjectFields, String>,
    /// The revision of its last change.
    pub(crate) revision: i64,
}

/// An instance on the command line: `<app>/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceName(pub AppName, pub InstanceId);

impl InstanceName {
    /// Reads `<app>/<id>`.
    pub fn new(text: &str) -> Result<Self, String> {
        let (app, id) = text
            .split_once('/')
            .ok_or_else(|| format!("{text:?} is not an instance: give APP/ID, like shop/shop-1"))?;
        let app = AppName::new(app).map_err(|bad| bad.detail)?;
        Ok(Self(app, InstanceId::new(id).map_err(|bad| bad.detail)?))
    }
}

/// How people call it: "route shop.example.com".
pub(crate) fn title(key: &Key) -> String {
    match key {
        Key::Route(host) => format!("route {host}"),
        Key::App(app) => format!("app {app}"),
        Key::Instance(app, id) => format!("instance {app}/{id}"),
        Key::Settings => "settings".to_owned(),
        other => other.to_string(),
    }
}

/// Where the API has it.
pub(crate) fn path(key: &Key) -> String {
    let template = key.kind().declaration().api.unwrap_or_default();
    let names = key.names().into_iter();
    names.fold(template.to_owned(), |path, (name, value)| {
        path.replace(&format!("{{{name}}}"), &segment(value))
    })
}

/// The fields of an object in the form in which the API shows them; refused as
/// the API would.
pub(crate) fn canonical(key: &Key, fields: &ObjectFields) -> Result<ObjectFields, Bad> {
    let raw = Value::Object(fields.clone()).to_string().into_bytes();
    let text = match key {
        Key::Route(_) => {
            let rules = Route::from_value(&raw)?.rules_json();
            return Ok(short_route(read(&rules)));
        }
        Key::App(_) => Policy::from_value(&raw)?.to_value(),
        Key::Settings => Settings::from_value(&raw)?.to_value(),
        _ => return canonical_instance(fields.clone()),
    };
    Ok(read(&text))
}

fn canonical_instance(mut fields: ObjectFields) -> Result<ObjectFields, Bad> {
    let ttl = fields.remove("ttl").filter(|ttl| !ttl.is_null());
    let instance = Instance::from_map(fields).map_err(|mut bad| {
        // The API has a field more than the value in etcd.
        let more = "weight, zone, shared, ttl";
        bad.detail = bad.detail.replace("weight, zone, shared", more);
        bad
    })?;
    let mut fields: ObjectFields = read(&instance.to_value());
    if let Some(ttl) = ttl {
        let parsed = ttl.as_str().map(humantime::parse_duration);
        if !matches!(parsed, Some(Ok(ttl)) if ttl.subsec_nanos() == 0 && TTL.contains(&ttl)) {
            let detail = "\"ttl\" must be a duration in whole seconds from 2s to 24h, like \"30s\"";
            let mut bad = Bad::new(BadCode::BadValue, detail);
            bad.field = Some("ttl".into());
            return Err(bad);
        }
        fields.insert("ttl".to_owned(), ttl);
    }
    Ok(fields)
}

const TTL: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(24 * 3600);

/// What the model wrote.
fn read<T: DeserializeOwned + Default>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_default()
}

/// A route that sends all to one app has a short form.
fn short_route(rules: Value) -> ObjectFields {
    let app = rules[0]["to"][0]["app"].clone();
    let value = match rules == json!([{ "path": "/", "to": [{ "app": app }] }]) {
        true => json!({ "app": app }),
        false => json!({ "rules": rules }),
    };
    value.as_object().cloned().unwrap_or_default()
}

/// Its document, as `apply` takes it.
pub(crate) fn document(key: &Key, fields: &ObjectFields) -> Value {
    let names = match key {
        Key::Route(host) => json!({ "kind": "Route", "host": host.as_str() }),
        Key::App(app) => json!({ "kind": "App", "app": app.as_str() }),
        Key::Instance(app, id) => {
            json!({ "kind": "Instance", "app": app.as_str(), "id": id.as_str() })
        }
        _ => json!({ "kind": "Settings" }),
    };
    let mut document = names.as_object().cloned().unwrap_or_default();
    document.extend(fields.clone());
    document.into()
}

/// The fields of an instance in an answer.
pub(crate) fn instance_fields(item: &InstanceItem) -> ObjectFields {
    let all = json!({
        "addr": item.addr, "weight": item.weight, "zone": item.zone, "shared": item.shared,
    });
    let all = all.as_object().cloned().unwrap_or_default().into_iter();
    all.filter(|(_, value)| !value.is_null()).collect()
}

/// Reads objects; an app is asked for once, however many of its instances are.
#[derive(Debug)]
pub(crate) struct ObjectReader<'a> {
    client: &'a AgentClient,
    apps: HashMap<String, Option<AppAnswer>>,
}

impl<'a> ObjectReader<'a> {
    pub(crate) fn new(client: &'a AgentClient) -> Self {
        Self {
            client,
            apps: HashMap::new(),
        }
    }

    /// An object as it is now; nothing if it is not there.
    pub(crate) async fn find(&mut self, key: &Key) -> Result<Option<FoundObject>, CommandError> {
        Ok(match key {
            Key::Route(host) => self.route(host).await?,
            Key::App(app) => self.app(app).await?.and_then(|answer| {
                let value = found(answer.policy.as_ref(), answer.bad.as_ref());
                Some(FoundObject {
                    value: value.map(|fields| settled(key, fields)),
                    revision: answer.revision?,
                })
            }),
            Key::Instance(app, id) => self.app(app).await?.and_then(|answer| {
                let all = answer.instances.iter();
                let item = all.into_iter().find(|item| item.id == id.as_str())?;
                let bad = "its value in etcd cannot be used".to_owned();
                let fields = item.addr.as_ref().map(|_| instance_fields(item));
                Some(FoundObject {
                    value: fields.ok_or(bad),
                    revision: item.revision,
                })
            }),
            _ => {
                let answer: SettingsAnswer = self.client.get_json("/v1/settings").await?;
                let value = found(answer.settings.as_ref(), answer.bad.as_ref());
                answer
                    .revision
                    .map(|revision| FoundObject { value, revision })
            }
        })
    }

    async fn route(&self, host: &Host) -> Result<Option<FoundObject>, CommandError> {
        let key = Key::Route(host.clone());
        let answer: Option<RouteAnswer> = self.there(&path(&key)).await?;
        Ok(answer.map(|answer| {
            let rules = answer.rules.map(|rules| json!({ "rules": rules }));
            let value = found(rules.as_ref(), answer.bad.as_ref());
            FoundObject {
                value: value.map(|fields| settled(&key, fields)),
                revision: answer.revision,
            }
        }))
    }

    /// An app with its instances.
    pub(crate) async fn app(&mut self, app: &AppName) -> Result<Option<&AppAnswer>, CommandError> {
        if !self.apps.contains_key(app.as_str()) {
            let answer = self.there(&path(&Key::App(app.clone()))).await?;
            self.apps.insert(app.to_string(), answer);
        }
        Ok(self.apps.get(app.as_str()).and_then(Option::as_ref))
    }

    /// Forgets an app, which may be large.
    pub(crate) fn forget(&mut self, app: &AppName) {
        self.apps.remove(app.as_str());
    }

    /// A thing that need not be there.
    pub(crate) async fn there<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, CommandError> {
        match self.client.get_json(path).await {
            Ok(answer) => Ok(Some(answer)),
            Err(CallError::Refused(problem)) if problem.code == Code::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// In canonical form, if this program can read it.
fn settled(key: &Key, fields: ObjectFields) -> ObjectFields {
    canonical(key, &fields).unwrap_or(fields)
}

fn found(
    value: Option<&impl serde::Serialize>,
    bad: Option<&pointsman_wire::BadValue>,
) -> Result<ObjectFields, String> {
    let value = value.and_then(|value| serde_json::to_value(value).ok());
    match (value, bad) {
        (Some(Value::Object(fields)), _) => Ok(fields),
        (_, Some(bad)) => Err(bad.reason.clone()),
        _ => Ok(ObjectFields::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(value: Value) -> ObjectFields {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn objects_are_brought_into_one_form() {
        let key = Key::parse("routes/shop.test").unwrap();
        let long = json!({"rules": [{"to": [{"app": "shop", "weight": 100}]}]});
        let short = fields(json!({ "app": "shop" }));
        assert_eq!(canonical(&key, &fields(long)).unwrap(), short);
        assert_eq!(canonical(&key, &short).unwrap(), short);
        let key = Key::parse("apps/shop").unwrap();
        let policy = fields(json!({"deadline": "60s", "retries": null}));
        let kept = fields(json!({ "deadline": "1m" }));
        assert_eq!(canonical(&key, &policy).unwrap(), kept);
        let key = Key::parse("instances/shop/a").unwrap();
        let given = fields(json!({"addr": "10.0.0.5:80", "ttl": "30s"}));
        let kept = fields(json!({"addr": "10.0.0.5:80", "weight": 100, "ttl": "30s"}));
        assert_eq!(canonical(&key, &given).unwrap(), kept);
        for (value, field) in [
            (json!({"addr": "10.0.0.5:80", "ttl": "1s"}), "ttl"),
            (json!({"addr": "10.0.0.5:80", "wieght": 1}), "wieght"),
        ] {
            let bad = canonical(&key, &fields(value)).unwrap_err();
            assert_eq!(bad.field.as_deref(), Some(field));
        }
    }

    #[test]
    fn names_become_paths() {
        let path = |key: &str| path(&Key::parse(key).unwrap());
        assert_eq!(path("routes/*.x.test"), "/v1/routes/%2A.x.test");
        assert_eq!(path("instances/shop/a:1"), "/v1/apps/shop/instances/a%3A1");
        assert_eq!(path("settings"), "/v1/settings");
        assert!(InstanceName::new("shop").unwrap_err().contains("APP/ID"));
    }
}
