//! Where settings come from: the file, the environment, the flags. All of
//! them become text with an origin; what the text means is decided later.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Mistake;
use super::settings::{ENV_PREFIX, SETTINGS, Setting};

/// The raw sources of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file named by `--config`; `POINTSMAN_AGENT_CONFIG` is the fallback.
    pub file: Option<PathBuf>,
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// The flags: a setting's key and the text given.
    pub flags: Vec<(&'static str, String)>,
}

/// The text of a setting and where it stands.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) text: String,
    pub(super) origin: String,
}

/// The settings that were given, each from its strongest source.
pub(super) type Layers = BTreeMap<&'static str, Given>;

pub(super) fn gather(sources: Sources, mistakes: &mut Vec<Mistake>) -> Layers {
    let mut layers = Layers::new();
    let (from_env, file_from_env) = environment(sources.env, mistakes);
    let file = sources.file.or(file_from_env);
    if let Some(path) = file {
        layers.extend(self::file(&path, mistakes));
    }
    layers.extend(from_env);
    for (key, text) in sources.flags {
        if let Some(setting) = Setting::of(key) {
            let origin = format!("--{}", setting.flag());
            layers.insert(setting.key, Given { text, origin });
        }
    }
    layers
}

fn environment(
    env: Vec<(OsString, OsString)>,
    mistakes: &mut Vec<Mistake>,
) -> (Layers, Option<PathBuf>) {
    let mut layers = Layers::new();
    let mut file = None;
    for (name, value) in env {
        let Some(name) = name.to_str() else { continue };
        let Some(suffix) = name.strip_prefix(ENV_PREFIX) else {
            let wanted = name.strip_prefix("POINTSMAN_").unwrap_or_default();
            if SETTINGS.iter().any(|s| s.suffix() == wanted) {
                let what =
                    format!("the agent's settings begin with {ENV_PREFIX}: {ENV_PREFIX}{wanted}");
                mistakes.push(Mistake::new(name, what));
            }
            continue;
        };
        if suffix == "CONFIG" {
            file = Some(PathBuf::from(value));
            continue;
        }
        let Some(setting) = SETTINGS.iter().find(|s| s.suffix() == suffix) else {
            if !is_service_link(suffix) {
                let names: Vec<_> = SETTINGS.iter().map(Setting::env).collect();
                mistakes.push(Mistake::new(name, unknown("variable", name, &names)));
            }
            continue;
        };
        match value.into_string() {
            Ok(text) => {
                let origin = name.to_owned();
                layers.insert(setting.key, Given { text, origin });
            }
            Err(_) => mistakes.push(Mistake::new(name, "the value is not UTF-8")),
        }
    }
    (layers, file)
}

/// Kubernetes and Docker describe a service called `pointsman-agent` to its
/// neighbours by such variables; they are no mistake of the user.
fn is_service_link(suffix: &str) -> bool {
    suffix == "PORT" || suffix.starts_with("PORT_") || suffix.starts_with("SERVICE_")
}

fn file(path: &Path, mistakes: &mut Vec<Mistake>) -> Layers {
    let mut layers = Layers::new();
    let shown = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) => {
            mistakes.push(Mistake::new(&shown, format!("cannot be read: {e}")));
            return layers;
        }
    };
    match toml::from_str::<toml::Table>(&text) {
        Ok(table) => walk(&shown, "", &table, &mut layers, mistakes),
        Err(e) => {
            // Only the message: the library's display repeats the line, and a
            // password may stand in it.
            let line = e.span().map(|s| text[..s.start].matches('\n').count() + 1);
            let place = line.map_or(shown.clone(), |n| format!("{shown}:{n}"));
            mistakes.push(Mistake::new(&place, format!("not TOML: {}", e.message())));
        }
    }
    layers
}

fn walk(
    shown: &str,
    above: &str,
    table: &toml::Table,
    layers: &mut Layers,
    mistakes: &mut Vec<Mistake>,
) {
    for (name, value) in table {
        let key = format!("{above}{name}");
        let origin = format!("{shown}:{key}");
        if let toml::Value::Table(inner) = value {
            let is_section = SETTINGS
                .iter()
                .any(|s| s.key.starts_with(&format!("{key}.")));
            if is_section {
                walk(shown, &format!("{key}."), inner, layers, mistakes);
                continue;
            }
        }
        let Some(setting) = Setting::of(&key) else {
            let names: Vec<_> = SETTINGS.iter().map(|s| s.key.to_owned()).collect();
            mistakes.push(Mistake::new(&origin, unknown("key", &key, &names)));
            continue;
        };
        match text_of(value) {
            Some(text) => {
                layers.insert(setting.key, Given { text, origin });
            }
            None => {
                let what = format!(
                    "this type of value is not accepted here ({})",
                    setting.takes
                );
                mistakes.push(Mistake::new(&origin, what));
            }
        }
    }
}

fn text_of(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(s) => Some(s.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Array(items) => {
            let items: Option<Vec<_>> = items.iter().map(toml::Value::as_str).collect();
            Some(items?.join(","))
        }
        _ => None,
    }
}

fn unknown(what: &str, name: &str, names: &[String]) -> String {
    let near = names
        .iter()
        .map(|n| (strsim::levenshtein(name, n), n))
        .min()
        .filter(|(d, _)| *d <= 3);
    match near {
        Some((_, near)) => format!("there is no such {what}; is {near} meant?"),
        None => format!("there is no such {what}; there are {}", names.join(", ")),
    }
}
