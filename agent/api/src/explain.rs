//! `/v1/explain`: what would become of a request.
//!
//! The edges decide, and say what they would do, by the code that does it. The
//! agent adds what its table has of the same route, and where they differ. It
//! matches no rules itself: another matcher could only be wrong.

mod differences;

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, Method, Uri};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use pointsman_edges::ask;
use pointsman_mirror::table::{RouteView, Table};
use pointsman_wire::{ExplainAnswer, ExplainQuery, ExplainedEdge, ExplainedInstance};
use serde_json::Value;

use super::ApiState;
use super::apps::{instances_of, item};
use super::problem::{Code, Problem};
use super::routes::listed;
use super::storage::json_body;
use differences::Expected;

/// How many edges are asked at a time.
const AT_A_TIME: usize = 100;
/// How many apps' instances are shown, where the rules lead to many.
const MOST_APPS: usize = 16;
/// What stands for itself in a query.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b':');

pub(super) async fn get(
    State(state): State<Arc<ApiState>>,
    pairs: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(pairs) = pairs.map_err(|error| bad("url", &error.body_text()))?;
    let query = parse(pairs)?;
    let host = host(&query.url)?;
    let (revision, epoch, route) = {
        let table = state.table.read().unwrap_or_else(PoisonError::into_inner);
        let epoch = table.epoch().unwrap_or_default().to_owned();
        (table.revision(), epoch, route_of(&table, &host))
    };
    listed(revision)?;
    let edges = ask_all(&state, &query).await?;
    let apps = route.as_ref().map_or_else(Vec::new, apps_of);
    let app = match &apps[..] {
        [only] => Some(only.clone()),
        _ => named_by_all(&edges).filter(|app| apps.contains(app)),
    };
    let shown = match &app {
        Some(app) => std::slice::from_ref(app),
        None => &apps[..apps.len().min(MOST_APPS)],
    };
    let instances = shown.iter().flat_map(|app| {
        let (instances, _) = instances_of(&state, app);
        instances.into_iter().map(|view| ExplainedInstance {
            app: app.clone(),
            item: item(view),
        })
    });
    let instances: Vec<_> = instances.collect();
    let expected = Expected {
        revision,
        epoch: &epoch,
        route: route.as_ref(),
        apps: &apps,
        instances: &instances,
        shown,
    };
    let differences = expected.differences(&edges);
    Ok(json_body(&ExplainAnswer {
        revision,
        host,
        route_revision: route.as_ref().map(|route| route.mod_revision),
        route: route.map(|route| route.host),
        app,
        instances,
        edges,
        differences,
    }))
}

fn bad(field: &'static str, detail: &str) -> Problem {
    Problem::new(Code::BadQuery, detail).field(field)
}

fn parse(pairs: Vec<(String, String)>) -> Result<ExplainQuery, Problem> {
    let (mut url, mut method, mut client, mut header) = (None, None, None, Vec::new());
    for (name, value) in pairs {
        let is_first = match name.as_str() {
            "url" => url.replace(value).is_none(),
            "method" => {
                if Method::from_bytes(value.as_bytes()).is_err() {
                    return Err(bad("method", "method must be one of HTTP, like GET"));
                }
                method.replace(value).is_none()
            }
            "client" => {
                if value.parse::<IpAddr>().is_err() {
                    return Err(bad(
                        "client",
                        "client must be an IP address, without a port",
                    ));
                }
                client.replace(value).is_none()
            }
            "header" => {
                check_header(&value)?;
                header.push(value);
                true
            }
            _ => {
                let name: String = name.chars().take(80).collect();
                let detail =
                    format!("unknown parameter {name:?}; explain has url, method, header, client");
                return Err(Problem::new(Code::BadQuery, detail).field(name));
            }
        };
        if !is_first {
            let detail = format!("{name} must be given once");
            return Err(Problem::new(Code::BadQuery, detail).field(name));
        }
    }
    let url = url.ok_or_else(|| bad("url", "url is missing: give an absolute URL"))?;
    Ok(ExplainQuery {
        url,
        method,
        header,
        client,
    })
}

fn check_header(header: &str) -> Result<(), Problem> {
    let parts = header.split_once(':').filter(|(name, value)| {
        name.parse::<HeaderName>().is_ok() && HeaderValue::from_str(value.trim()).is_ok()
    });
    match parts {
        Some(_) => Ok(()),
        None => Err(bad("header", "header must be like \"Name: value\"")),
    }
}

/// The host that a URL is routed by.
fn host(url: &str) -> Result<String, Problem> {
    let uri: Option<Uri> = url.parse().ok();
    let uri = uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")));
    let host = uri.as_ref().and_then(Uri::host).filter(|h| !h.is_empty());
    let host = host.ok_or_else(|| {
        let detail = "url must be absolute and percent-encoded, like http://shop.test/cart?id=1; \
                      a domain with other letters than ASCII in its form xn--…";
        bad("url", detail)
    })?;
    Ok(host.trim_end_matches('.').to_ascii_lowercase())
}

/// The most specific route that matches.
fn route_of(table: &Table, host: &str) -> Option<RouteView> {
    let is_ip = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    let parents = if is_ip { "" } else { host };
    let wildcards = parents.match_indices('.');
    let wildcards = wildcards.map(|(dot, _)| format!("*{}", &parents[dot..]));
    let patterns = std::iter::once(host.to_owned()).chain(wildcards);
    let mut patterns = patterns.chain(["*".to_owned()]);
    patterns.find_map(|pattern| {
        let first = table.routes(&pattern, None, 1).into_iter().next();
        first.filter(|route| route.host == pattern)
    })
}

/// The apps to which a route's rules lead, in the order of the rules.
fn apps_of(route: &RouteView) -> Vec<String> {
    let rules = route.rules.as_deref().unwrap_or_default();
    let rules: Value = serde_json::from_str(rules).unwrap_or_default();
    let targets = rules.as_array().into_iter().flatten();
    let targets = targets.flat_map(|rule| rule["to"].as_array().into_iter().flatten());
    let mut apps: Vec<String> = Vec::new();
    for app in targets.filter_map(|target| target["app"].as_str()) {
        if !apps.iter().any(|known| known == app) {
            apps.push(app.to_owned());
        }
    }
    apps
}

/// Asks all edges that were ever heard from: one that is missing may still be
/// serving.
async fn ask_all(state: &ApiState, query: &ExplainQuery) -> Result<Vec<ExplainedEdge>, Problem> {
    let encoded = |value: &str| utf8_percent_encode(value, VALUE).to_string();
    let mut text = format!("url={}", encoded(&query.url));
    for (name, values) in [
        ("method", query.method.as_slice()),
        ("header", &query.header),
        ("client", query.client.as_slice()),
    ] {
        for value in values {
            text = format!("{text}&{name}={}", encoded(value));
        }
    }
    let known = state.edges.list().ok_or_else(|| {
        let detail = "edges' reports cannot be read from redis, or have not been read yet";
        Problem::new(Code::NotReady, detail)
    })?;
    let asked = known.into_iter().map(|edge| {
        let text = &text;
        async move {
            let (answer, error) = match edge.report {
                None => (None, Some("no report of it was ever read".to_owned())),
                Some(report) => match ask::explain(&report.status, text).await {
                    Ok(answer) => (Some(answer), None),
                    Err(error) => (None, Some(error.to_string())),
                },
            };
            ExplainedEdge {
                edge: edge.name,
                answer,
                error,
            }
        }
    });
    Ok(stream::iter(asked).buffered(AT_A_TIME).collect().await)
}

/// The app that all edges that have answered name.
fn named_by_all(edges: &[ExplainedEdge]) -> Option<String> {
    let answers = edges.iter().filter_map(|edge| edge.answer.as_ref());
    let mut apps = answers.map(|answer| answer["app"].as_str());
    let first = apps.next()??;
    apps.all(|app| app == Some(first)).then(|| first.to_owned())
}
