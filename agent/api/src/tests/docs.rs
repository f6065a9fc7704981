//! The documentation's examples, run in their order; its table of codes.

use std::collections::BTreeMap;

use pointsman_model::{Policy, Route, Settings};
use pointsman_publish::Phase;

use super::*;
use crate::calls::{Answers, ApiCall, TypeSchema};

fn docs() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
    std::fs::read_to_string(path).unwrap()
}

/// A `$ curl …` of the documentation, and the answer below it.
struct Example {
    command: String,
    answer: String,
}

fn examples() -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    for line in docs().lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            let (command, answer) = (command.to_owned(), String::new());
            examples.push(Example { command, answer });
        } else if let Some(last) = examples.last_mut().filter(|_| inside) {
            last.answer.push_str(line);
            last.answer.push('\n');
        }
    }
    examples
}

/// As a shell splits: words, and what stands in single quotes.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (n, part) in command.split('\'').enumerate() {
        let last = words.last_mut().unwrap();
        if n % 2 == 1 {
            last.push_str(part);
            continue;
        }
        let mut pieces = part.split(' ');
        last.push_str(pieces.next().unwrap());
        words.extend(pieces.map(str::to_owned));
    }
    words.retain(|w| !w.is_empty());
    words
}

/// What a command asks for.
struct Asked {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

fn request(command: &str) -> Asked {
    let mut asked = Asked {
        method: "GET".to_owned(),
        path: String::new(),
        headers: Vec::new(),
        body: String::new(),
    };
    let mut words = words(command).into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"));
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" => {}
            "-X" => asked.method = words.next().unwrap(),
            "-d" => asked.body = words.next().unwrap(),
            "-H" => {
                let header = words.next().unwrap();
                let (name, value) = header.split_once(": ").unwrap();
                asked.headers.push((name.to_owned(), value.to_owned()));
            }
            url => {
                let path = url.strip_prefix("http://127.0.0.1:8081");
                asked.path = path.unwrap().to_owned();
            }
        }
    }
    asked
}

async fn run(api: &Api, asked: &Asked) -> Answer {
    let caller: std::net::SocketAddr = "127.0.0.1:50000".parse().unwrap();
    let mut request = Request::builder()
        .method(asked.method.as_str())
        .extension(axum::extract::ConnectInfo(caller))
        .uri(&asked.path);
    for (name, value) in &asked.headers {
        request = request.header(name, value);
    }
    api.send(request.body(asked.body.clone().into()).unwrap())
        .await
}

fn compare(example: &Example, answer: &Answer) {
    let mut expected = example.answer.as_str();
    if let Some(rest) = expected.strip_prefix("HTTP/1.1 ") {
        let (head, body) = rest.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap();
        assert_eq!(answer.status.to_string(), status, "{}", example.command);
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(answer.header(name), value, "{}", example.command);
        }
        expected = body;
    }
    let Ok(mut expected) = serde_json::from_str::<Value>(expected) else {
        assert_eq!(answer.text, expected, "{}", example.command);
        return;
    };
    let mut body = answer.json();
    // Most examples are about something else than what they are warned of.
    if expected.get("warnings").is_none()
        && let Some(body) = body.as_object_mut()
    {
        body.remove("warnings");
    }
    for value in [&mut expected, &mut body] {
        hide(value);
    }
    assert_eq!(body, expected, "{}", example.command);
}

/// Takes out what is another one each time, wherever it stands.
fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match name.as_str() {
                    "request_id" | "request" | "at" | "status_url" => drop(value.take()),
                    _ => hide(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

/// An edge that explains a request as the documentation has it; answers its
/// `status_url`.
async fn edge_as_documented(examples: &[Example]) -> String {
    let explain = |example: &&Example| example.command.contains("/v1/explain?");
    let example = examples.iter().find(explain).unwrap();
    let answer: Value = serde_json::from_str(&example.answer).unwrap();
    let answer = answer["edges"][0]["answer"].to_string();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/pointsman/status", listener.local_addr().unwrap());
    let router = Router::new().route("/pointsman/explain", axum::routing::get(async || answer));
    let limits = listen::Limits::default();
    tokio::spawn(listen::serve(
        listener,
        router,
        limits,
        CancellationToken::new(),
    ));
    url
}

#[tokio::test(start_paused = true)]
async fn each_example_answers_as_documented() {
    let mut api = Api::new();
    tokio::spawn(api.follower.take().unwrap().run(CancellationToken::new()));
    let events = api.event_follower.take().unwrap();
    tokio::spawn(events.run(CancellationToken::new()));
    let epoch = "da53086c-4dbd-4a66-8326-178bee116bf0";
    api.store
        .commit(&[("epoch", Some(epoch)), ("edges/edge-1", Some("{}"))]);
    api.store.commit(&[("rebuild", Some("agent-1"))]);
    let examples = examples();
    assert!(examples.len() > 15, "the examples were not found");
    api.reports.status_url(&edge_as_documented(&examples).await);
    for example in &examples {
        if example.command.ends_with("/v1/edges/edge-3") {
            api.store.commit(&[("edges/edge-3", Some("{}"))]);
        }
        if example.command.ends_with("/v1/status") {
            // What the text before it tells of.
            api.store
                .commit(&[("instances/shop/shop-1", Some("10.0.0.5:8080"))]);
            api.store
                .commit(&[("instances/blog/blog-1", Some("10.0.0.5:8080"))]);
            api.store
                .commit(&[("instances/shop/shop-7", Some("unix:/run/shop.sock"))]);
        }
        api.sync().await;
        let revision = api.store.revision();
        api.status.send_modify(|status| {
            *status = SyncStatus {
                phase: Phase::Streaming,
                etcd_connected: true,
                redis_connected: true,
                epoch: Some(epoch.to_owned()),
                seen: revision,
                applied: revision,
                ready: true,
                ..SyncStatus::default()
            };
        });
        api.reports.report_of(epoch, "edge-1", revision, "{}");
        // On this clock, which jumps: reports gather for a tenth of a second.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        api.settle().await;
        api.settle_events().await;
        let asked = request(&example.command);
        // Another process is not asked on a clock that jumps.
        let asks_edges = asked.path.contains("/explain?");
        if asks_edges {
            tokio::time::resume();
        }
        let answer = run(&api, &asked).await;
        if asks_edges {
            tokio::time::pause();
        }
        compare(example, &answer);
        check_types(&asked, &answer);
    }
}

/// Asserts that request and answer are of the types that the table names.
fn check_types(asked: &Asked, answer: &Answer) {
    let path = asked.path.split('?').next().unwrap();
    let calls = calls::all();
    let call = calls
        .iter()
        .find(|call| call.method == *asked.method && matches(call.path, path))
        .unwrap_or_else(|| panic!("{} {path} is not in the table of calls", asked.method));
    let same = |shape: &TypeSchema, text: &str| {
        let value: Value = serde_json::from_str(text).unwrap();
        let round = (shape.round)(&value).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(round, value, "{} {path}", asked.method);
    };
    if answer.status != 200 {
        return same(
            &TypeSchema::of::<pointsman_wire::ProblemBody>(),
            &answer.text,
        );
    }
    if let (Some(shape), false) = (&call.body, asked.body.is_empty()) {
        same(shape, &asked.body);
    }
    if let Answers::Json(shape) = &call.answer {
        same(shape, &answer.text);
    }
}

fn matches(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(t, p)| t.starts_with('{') || t == p)
}

#[test]
fn every_call_is_documented_with_its_scope() {
    let docs = docs();
    let row = |call: &ApiCall| {
        let (method, path, scope) = (&call.method, call.path, call.scope.as_str());
        format!("| `{method} {path}` | {scope} | {} |", call.summary)
    };
    let rows: Vec<_> = calls::all().iter().map(row).collect();
    let (_, section) = docs.split_once("\n## Calls\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let documented: Vec<_> = section.lines().filter(|l| l.starts_with("| `")).collect();
    assert_eq!(documented, rows, "docs/api.md ≠ api/src/calls.rs");
}

#[test]
fn every_call_has_an_example() {
    let examples: Vec<_> = examples().iter().map(|e| request(&e.command)).collect();
    for call in calls::all() {
        // Their answers are as long as this documentation.
        if ["/v1/openapi.json", "/metrics"].contains(&call.path) {
            continue;
        }
        let is_one = |asked: &Asked| {
            let path = asked.path.split('?').next().unwrap_or_default();
            call.method == *asked.method && matches(call.path, path)
        };
        let (method, path) = (&call.method, call.path);
        assert!(examples.iter().any(is_one), "no example of {method} {path}");
    }
}

#[tokio::test]
async fn the_document_has_each_call_and_each_type() {
    let answer = Api::new().get("/v1/openapi.json").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let document = answer.json();
    let paths = document["paths"].as_object().unwrap();
    let operations: usize = paths.values().map(|p| p.as_object().unwrap().len()).sum();
    assert_eq!(operations, calls::all().len());
    for call in calls::all() {
        let method = call.method.as_str().to_ascii_lowercase();
        let operation = &paths[call.path][&method];
        assert_eq!(operation["summary"], call.summary);
        assert_eq!(operation["x-pointsman-scope"], call.scope.as_str());
        let asks = call.path.matches('{').count();
        let parameters = operation["parameters"].as_array().unwrap();
        let in_path = parameters.iter().filter(|p| p["in"] == "path").count();
        assert_eq!(in_path, asks, "{}", call.path);
        let in_query = parameters.iter().filter(|p| p["in"] == "query").count();
        assert_eq!(in_query > 0, call.query.is_some(), "{}", call.path);
    }
    let text = document.to_string();
    let names = text.split("#/components/schemas/").skip(1);
    for name in names.map(|rest| rest.split('"').next().unwrap()) {
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "{name} is not there");
    }
}

#[test]
fn the_words_of_the_document_are_those_of_the_bodies() {
    let document = openapi::document();
    let words = |name: &str| document["components"]["schemas"][name]["enum"].clone();
    let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(words("Code"), json!(codes));
    for (name, field, some) in [
        ("BalanceWord", "balance", "least_conn"),
        ("SchemeWord", "scheme", "https"),
    ] {
        let words = words(name);
        assert!(words.as_array().unwrap().contains(&json!(some)), "{words}");
        for word in words.as_array().unwrap().iter().filter(|w| *w != "hash") {
            let body = json!({ field: word }).to_string();
            assert!(Policy::from_value(body.as_bytes()).is_ok(), "{body}");
        }
    }
    assert_eq!(words("CheckType"), json!(["http", "tcp", "grpc"]));
    assert_eq!(words("InitialWord"), json!(["pending", "healthy"]));
    assert_eq!(words("SameSiteWord"), json!(["lax", "strict", "none"]));
    assert_eq!(words("FailureWord"), json!(["connect", "timeout", "5xx"]));
    assert_eq!(words("DrainWord"), json!(["keep"]));
}

/// The model reads bodies; the types of the wire say what they look like.
#[test]
fn the_types_have_the_fields_that_the_model_reads() {
    let document = openapi::document();
    let policy = |text: &str| Policy::from_value(text.as_bytes()).unwrap_err();
    let route = |text: &str| Route::from_value(text.as_bytes()).unwrap_err();
    for (name, refusal) in [
        ("RouteBody", route(r#"{"?":1}"#)),
        ("RuleBody", route(r#"{"rules":[{"?":1}]}"#)),
        (
            "TargetBody",
            route(r#"{"rules":[{"to":[{"app":"a","?":1}]}]}"#),
        ),
        ("ConditionBody", route(r#"{"rules":[{"when":[{"?":1}]}]}"#)),
        ("RedirectBody", route(r#"{"rules":[{"redirect":{"?":1}}]}"#)),
        (
            "MaintenanceBody",
            route(r#"{"rules":[{"maintenance":{"?":1}}]}"#),
        ),
        ("HeadersBody", route(r#"{"rules":[{"headers":{"?":1}}]}"#)),
        (
            "EditsBody",
            route(r#"{"rules":[{"headers":{"request":{"?":1}}}]}"#),
        ),
        ("PolicyBody", policy(r#"{"?":1}"#)),
        ("HashByBody", policy(r#"{"hash_by":{"?":1}}"#)),
        ("StickyBody", policy(r#"{"sticky":{"?":1}}"#)),
        ("HealthCheckBody", policy(r#"{"health_check":{"?":1}}"#)),
        ("WakeBody", policy(r#"{"wake":{"url":"http://a","?":1}}"#)),
        (
            "SettingsBody",
            Settings::from_value(br#"{"?":1}"#).unwrap_err(),
        ),
    ] {
        let properties = &document["components"]["schemas"][name]["properties"];
        let mut ours: Vec<_> = properties.as_object().unwrap().keys().cloned().collect();
        let theirs = refusal.detail.rsplit_once("it has ").unwrap().1;
        let mut theirs: Vec<_> = theirs.split(", ").flat_map(|f| f.split(" or ")).collect();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs, "{name}");
    }
}

#[test]
fn every_code_is_documented_with_its_status() {
    let docs = docs();
    let rows: BTreeMap<&str, &str> = docs
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let code = cells.next()?.strip_suffix('`')?;
            Some((code, cells.next()?))
        })
        .filter(|(_, status)| status.parse::<u16>().is_ok())
        .collect();
    let statuses: Vec<_> = Code::ALL.iter().map(|c| c.status().to_string()).collect();
    let codes = Code::ALL.iter().map(|c| c.as_str());
    let expected: BTreeMap<&str, &str> = codes.zip(statuses.iter().map(String::as_str)).collect();
    assert_eq!(rows, expected, "docs/api.md ≠ api/problem.rs");
}

/// The fields that a refusal of an unknown one names.
fn fields_of(bad: &pointsman_model::Bad) -> Vec<&str> {
    let (_, fields) = bad.detail.rsplit_once("it has ").unwrap();
    fields.split(", ").collect()
}

#[test]
fn every_field_of_policies_and_rules_is_documented() {
    let docs = docs();
    let policy = Policy::from_value(br#"{"?":1}"#).unwrap_err();
    let rule = Route::from_value(br#"{"rules":[{"?":1}]}"#).unwrap_err();
    let fields = [fields_of(&policy), fields_of(&rule)].concat();
    assert!(fields.len() > 25, "{fields:?}");
    let rows: Vec<_> = docs.lines().filter(|line| line.starts_with("| ")).collect();
    for field in fields {
        let cell = format!("`{field}`");
        let named = |row: &&&str| row.split(" | ").next().is_some_and(|f| f.contains(&cell));
        assert!(
            rows.iter().any(|row| named(&row)),
            "{field} is not in docs/api.md"
        );
    }
}
