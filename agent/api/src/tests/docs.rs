//! The documentation's examples, run in their order; its table of codes.

use std::collections::BTreeMap;

use pointsman_publish::Phase;

use super::*;

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

async fn run(api: &Api, command: &str) -> Answer {
    let (mut method, mut path, mut body) = ("GET".to_owned(), String::new(), String::new());
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut words = words(command).into_iter();
    assert_eq!(words.next().as_deref(), Some("curl"));
    while let Some(word) = words.next() {
        match word.as_str() {
            "-i" => {}
            "-X" => method = words.next().unwrap(),
            "-d" => body = words.next().unwrap(),
            "-H" => {
                let header = words.next().unwrap();
                let (name, value) = header.split_once(": ").unwrap();
                headers.push((name.to_owned(), value.to_owned()));
            }
            url => {
                path = url
                    .strip_prefix("http://127.0.0.1:8081")
                    .unwrap()
                    .to_owned()
            }
        }
    }
    let mut request = Request::builder().method(method.as_str()).uri(path);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    api.send(request.body(body.into()).unwrap()).await
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
    for value in [&mut expected, &mut body] {
        if let Some(id) = value.get_mut("request_id") {
            id.take();
        }
    }
    assert_eq!(body, expected, "{}", example.command);
}

#[tokio::test(start_paused = true)]
async fn each_example_answers_as_documented() {
    let api = Api::new();
    let epoch = "da53086c-4dbd-4a66-8326-178bee116bf0";
    api.store.commit(&[("epoch", Some(epoch))]);
    api.store.commit(&[("rebuild", Some("agent-1"))]);
    let examples = examples();
    assert!(examples.len() > 15, "the examples were not found");
    for example in &examples {
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
        compare(example, &run(&api, &example.command).await);
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
    let statuses: Vec<_> = Code::ALL
        .iter()
        .map(|c| c.status().as_u16().to_string())
        .collect();
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
    let policy = pointsman_model::Policy::from_value(br#"{"?":1}"#).unwrap_err();
    let rule = pointsman_model::Route::from_value(br#"{"rules":[{"?":1}]}"#).unwrap_err();
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
