//! What holds for every request, whatever is in it: no 5xx, a problem that
//! says what is wrong, and what is accepted can be read, written again, and
//! used by the table.

use std::future::Future;

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::*;

#[path = "../../../model/src/parsers/nearly.rs"]
mod nearly;

use nearly::{golden, nearly, text};

type Outcome = Result<(), TestCaseError>;

/// The longest sentence, with all that it quotes.
const LONGEST_DETAIL: usize = 1_000;
const ROUTE: &str = "/v1/routes/a.example";
const APP: &str = "/v1/apps/shop";
const INSTANCE: &str = "/v1/apps/shop/instances/a";
const DRAINING: &str = "/v1/apps/shop/instances/a/draining";
const SETTINGS: &str = "/v1/settings";

fn run(case: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build();
    runtime.unwrap().block_on(case)
}

fn encoded(bytes: &[u8]) -> String {
    percent_encode(bytes, NON_ALPHANUMERIC).to_string()
}

fn request(method: &str, path: &str, body: Vec<u8>) -> Option<Request<Body>> {
    let json = ("content-type", "application/json");
    let request = Request::builder().method(method).uri(path);
    request.header(json.0, json.1).body(body.into()).ok()
}

async fn put(api: &Api, path: &str, body: &[u8]) -> Answer {
    api.send(request("PUT", path, body.to_vec()).unwrap()).await
}

/// Whether it is good; otherwise it must be a problem of the client's.
fn is_good(answer: &Answer) -> Result<bool, TestCaseError> {
    let status = answer.status.as_u16();
    if matches!(status, 200 | 304) {
        return Ok(true);
    }
    prop_assert!((400..500).contains(&status), "{status}: {}", answer.text);
    prop_assert_eq!(answer.header("content-type"), "application/problem+json");
    if answer.text.is_empty() {
        // To a HEAD.
        return Ok(false);
    }
    let problem: pointsman_wire::ProblemBody = serde_json::from_str(&answer.text).unwrap();
    prop_assert_eq!(problem.status, status);
    prop_assert_eq!(problem.code.status(), status);
    prop_assert!(problem.detail.len() < LONGEST_DETAIL, "{}", problem.detail);
    Ok(false)
}

/// A body of a PUT to one of the paths, or nearly one.
fn body() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let with_ttl = golden("instances/").into_iter().map(|mut body| {
        body["ttl"] = json!("30s");
        body
    });
    let of = |path: &'static str, documents: Vec<Value>| {
        nearly(documents).prop_map(move |body| (path, body))
    };
    prop_oneof![
        of(ROUTE, golden("routes/")),
        of(APP, golden("apps/")),
        of(
            INSTANCE,
            golden("instances/").into_iter().chain(with_ttl).collect()
        ),
        of(DRAINING, vec![json!({})]),
        of(SETTINGS, golden("settings")),
    ]
}

/// What a GET shows of what was PUT there.
async fn shown(api: &Api, path: &str) -> Option<String> {
    let read = match path {
        ROUTE => ROUTE,
        SETTINGS => SETTINGS,
        _ => APP,
    };
    let body = api.get(read).await.json();
    let shown = match path {
        ROUTE => json!({ "rules": body["rules"] }),
        SETTINGS => body["settings"].clone(),
        APP => body["policy"].clone(),
        _ => return None,
    };
    Some(shown.to_string())
}

proptest! {
    #[test]
    fn bodies((path, body) in body()) {
        run(async {
            let api = Api::new();
            if path == DRAINING {
                api.put(INSTANCE, r#"{"addr":"10.0.0.5:80"}"#).await.revision();
            }
            let put_it = put(&api, path, &body).await;
            let before = api.store.revision();
            api.sync().await;
            let bad: Vec<_> = api.table.read().unwrap().bad().map(|(key, bad)| format!("{key}: {bad}")).collect();
            prop_assert_eq!(bad, Vec::<String>::new());
            if !is_good(&put_it)? {
                return Ok(());
            }
            prop_assert_eq!(put_it.revision(), before);
            // What is shown can be written, and changes nothing.
            let Some(again) = shown(&api, path).await else {
                return Ok(());
            };
            let records = |api: &Api| api.table.read().unwrap().records(None, usize::MAX);
            let held = records(&api);
            prop_assert!(is_good(&put(&api, path, again.as_bytes()).await)?);
            api.sync().await;
            let number = |text: &str| text.replace(&format!("\"rev\":\"{}\"", before + 1), &format!("\"rev\":\"{before}\""));
            let (held, now) = (format!("{held:?}"), format!("{:?}", records(&api)));
            prop_assert_eq!(number(&now.replace('\\', "")), held.replace('\\', ""));
            prop_assert_eq!(shown(&api, path).await, Some(again));
            Ok(())
        })?;
    }

    /// Whatever name is written, `Location` leads to the thing.
    #[test]
    fn names(name in prop_oneof![
        text(),
        "[a-zA-Z0-9._:*-]{1,20}",
        "[äßçİ中１ａ＊。\\[\\]:.a-f]{1,6}",
    ]) {
        run(async {
            let api = Api::new();
            let name = encoded(name.as_bytes());
            for (path, body) in [
                (format!("/v1/routes/{name}"), r#"{"app":"shop"}"#),
                (format!("/v1/apps/{name}"), "{}"),
                (format!("/v1/apps/shop/instances/{name}"), r#"{"addr":"10.0.0.5:80"}"#),
                (format!("/v1/apps/shop/instances/{name}/draining"), "{}"),
            ] {
                let answer = api.put(&path, body).await;
                if !is_good(&answer)? {
                    continue;
                }
                api.sync().await;
                prop_assert_eq!(api.table.read().unwrap().bad().count(), 0);
                let location = answer.header("location");
                if !location.contains("/instances/") {
                    prop_assert!(is_good(&api.get(location).await)?, "{location}");
                }
                let again = put(&api, location, body.as_bytes()).await;
                prop_assert_eq!(again.header("location"), location);
                if !location.ends_with("/draining") && path.contains("/routes/") {
                    prop_assert!(is_good(&api.delete(location).await)?, "{location}");
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn queries(pairs in prop::collection::vec((
        prop_oneof![
            6 => prop::sample::select(vec!["prefix", "limit", "cursor"]).prop_map(str::to_owned),
            1 => text(),
        ],
        prop_oneof![text(), (0..1_200_u32).prop_map(|n| n.to_string())],
    ), 0..4)) {
        run(async {
            let api = Api::new();
            api.put(ROUTE, r#"{"app":"shop"}"#).await.revision();
            api.sync().await;
            let query: Vec<_> = pairs.iter().map(|(name, value)| {
                format!("{}={}", encoded(name.as_bytes()), encoded(value.as_bytes()))
            }).collect();
            let is_right = pairs.iter().enumerate().all(|(n, (name, value))| {
                let first = pairs[..n].iter().all(|(other, _)| other != name);
                first && match name.as_str() {
                    "limit" => value.parse().is_ok_and(|n| (1..=1000).contains(&n)),
                    "prefix" | "cursor" => !value.contains(char::is_control),
                    _ => false,
                }
            });
            for list in ["/v1/routes", "/v1/apps"] {
                let path = format!("{list}?{}", query.join("&"));
                if path.len() > 8_000 {
                    continue;
                }
                prop_assert_eq!(is_good(&api.get(&path).await)?, is_right, "{}", path);
            }
            Ok(())
        })?;
    }

    #[test]
    fn requests(
        method in prop::sample::select(vec!["GET", "PUT", "DELETE", "HEAD", "POST", "OPTIONS", "X"]),
        path in prop_oneof![
            4 => prop::sample::select(vec![ROUTE, APP, INSTANCE, DRAINING, SETTINGS, "/v1/routes", "/v1/apps", "/v1/status", "/metrics", "/livez", "/v1/openapi.json"]).prop_map(str::to_owned),
            1 => prop::collection::vec(any::<u8>(), 0..12).prop_map(|name| format!("/v1/routes/{}", encoded(&name))),
            1 => "/[!-~]{0,20}",
        ],
        query in "(\\?[!-~]{0,10})?",
        headers in prop::collection::vec((
            prop::sample::select(vec!["if-match", "if-none-match", "content-type", "content-length", "x-request-id"]),
            prop_oneof![
                prop::sample::select(vec!["*", "\"1\"", "W/\"2\"", "\"99999999999999999999\"", "application/json", "0"]).prop_map(str::to_owned),
                "[ -~\u{80}-\u{ff}]{0,12}",
            ],
        ), 0..3),
        (_, body) in body(),
    ) {
        run(async {
            let api = Api::new();
            api.store.commit(&[("routes/a.example", Some(r#"{"app":"shop"}"#))]);
            api.store.commit(&[("instances/shop/a", Some("10.0.0.5:80"))]);
            api.sync().await;
            api.status.send_modify(|status| status.ready = true);
            let Some(mut request) = request(method, &(path + &query), body) else {
                return Ok(());
            };
            for (name, value) in headers {
                if let Ok(value) = axum::http::HeaderValue::from_str(&value) {
                    request.headers_mut().append(name, value);
                }
            }
            is_good(&api.send(request).await)?;
            Ok(())
        })?;
    }
}
