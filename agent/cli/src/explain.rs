//! `pointsman explain`: why a request goes where it goes, as every edge says.

use std::net::IpAddr;

use clap::Args;
use pointsman_wire::ExplainQuery;
use serde_json::{Value, json};

use crate::around::{CommandError, CommandReport, Session};
use crate::table::{Painter, columns};

/// The arguments of `pointsman explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The URL of the request.
    #[arg(help = "The URL of the request, like http://shop.example.com/cart?id=1")]
    pub url: String,

    /// Its method
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub method: Option<String>,

    /// A header of it; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    pub headers: Vec<String>,

    /// The IP address of its client, for what goes by it
    #[arg(long, value_name = "IP")]
    pub client: Option<IpAddr>,
}

fn header(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some((name, _)) if !name.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("a header is like \"Name: value\"".to_owned()),
    }
}

pub(crate) async fn explain(
    session: &Session,
    args: &ExplainArgs,
) -> Result<CommandReport, CommandError> {
    let query = ExplainQuery {
        url: args.url.clone(),
        method: args.method.clone(),
        header: args.headers.clone(),
        client: args.client.map(|client| client.to_string()),
    };
    let answer = session.client.explain(&query).await?;
    Ok(session.show(&answer, |answer| {
        text(session.paint, &args.url, &json!(answer))
    }))
}

/// The answer for people. What this program does not know of it is left out;
/// `-o json` has it.
fn text(paint: Painter, url: &str, answer: &Value) -> String {
    let revision = &answer["revision"];
    let mut text = match answer["route"].as_str() {
        Some(route) => {
            format!("{url} is routed by {route}, as the agent has it at revision {revision}\n")
        }
        None => format!("{url} has no route, as the agent has it at revision {revision}\n"),
    };
    let instances = items(&answer["instances"]);
    if !instances.is_empty() {
        let rows = instances.iter().map(|item| {
            let id = match item["app"].as_str() {
                Some(app) => format!("{app}/{}", word(&item["id"])),
                None => word(&item["id"]),
            };
            [
                id,
                word(&item["addr"]),
                word(&item["state"]),
                word(&item["reason"]),
            ]
        });
        let header = ["INSTANCE", "ADDR", "STATE", "WHY"];
        text += &indented(&columns(paint, header, rows));
    }
    for edge in items(&answer["edges"]) {
        let name = word(&edge["edge"]);
        text += &match (edge["error"].as_str(), &edge["answer"]) {
            (Some(error), _) => format!("\nedge {name}: no answer: {error}\n"),
            (None, answer) => format!("\nedge {name}\n{}", indented(&edge_text(paint, answer))),
        };
    }
    let differences = items(&answer["differences"]);
    if !differences.is_empty() {
        text += "\ndifferences\n";
        for difference in differences {
            let line = format!("  {}", word(difference));
            text += &format!("{}\n", paint.change('-', &line));
        }
    }
    text
}

fn edge_text(paint: Painter, answer: &Value) -> String {
    let (cache, revision) = (word(&answer["cache"]), word(&answer["revision"]));
    let applied = word(&answer["applied"]);
    let mut rows = vec![match answer["route"].as_str() {
        Some(route) => (
            "route",
            format!("{route}, revision {revision}, from {cache} (the edge is at {applied})"),
        ),
        None => (
            "route",
            format!("none, from {cache} (the edge is at {applied})"),
        ),
    }];
    let chosen = &answer["rule"];
    for rule in items(&answer["rules"]) {
        if !chosen.is_object() || rule["number"] != chosen["number"] {
            rows.push(("not rule", rule_text(rule)));
        }
    }
    if chosen.is_object() {
        rows.push(("rule", rule_text(chosen)));
    }
    let mut row = |name: &'static str, value: &Value| {
        if !value.is_null() {
            rows.push((name, plain(value)));
        }
    };
    row("pause", &answer["pause"]);
    row("app", &answer["app"]);
    row("split", &answer["split"]);
    row("directives", &answer["directives"]);
    row("answer", &answer["answer"]);
    row("balance", &answer["algorithm"]);
    let lines = rows.into_iter().filter(|(_, value)| !value.is_empty());
    let lines: String = lines
        .map(|(name, value)| format!("{name:<12}{value}\n"))
        .collect();
    let instances = items(&answer["instances"]);
    if instances.is_empty() {
        return lines;
    }
    let table = instances.iter().map(|item| {
        let next = match item["next"].as_bool() {
            Some(true) => "next",
            _ => "",
        };
        [
            word(&item["id"]),
            word(&item["addr"]),
            word(&item["weight"]),
            word(&item["state"]),
            word(&item["in_flight"]),
            next.to_owned(),
        ]
    });
    let header = ["INSTANCE", "ADDR", "WEIGHT", "STATE", "IN FLIGHT", ""];
    lines + &columns(paint, header, table)
}

/// A rule by its number, with each condition and what the request has.
fn rule_text(rule: &Value) -> String {
    let conditions = items(&rule["conditions"]).iter().map(|condition| {
        let (on, is) = (word(&condition["on"]), plain(&condition["is"]));
        match (condition["matches"].as_bool(), &condition["value"]) {
            (Some(true), _) => format!("{on} {is}: yes"),
            (_, Value::Null) => format!("{on} {is}: no, the request has none"),
            (_, value) => format!("{on} {is}: no, the request has {}", plain(value)),
        }
    });
    let conditions = conditions.collect::<Vec<_>>().join("; ");
    match &rule["number"] {
        Value::Null => conditions,
        number => format!("{number}  {conditions}").trim_end().to_owned(),
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A text or a number.
fn word(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value on one line: the fields of an object with their names, by which they
/// are sorted: an edge's have no order.
fn plain(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let there = fields.iter().filter(|(_, value)| !value.is_null());
            let fields = there.map(|(name, value)| format!("{name} {}", plain(value)));
            let mut fields: Vec<_> = fields.collect();
            fields.sort();
            fields.join(", ")
        }
        Value::Array(items) => {
            let items = items.iter().map(plain);
            items.collect::<Vec<_>>().join(", ")
        }
        other => word(other),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_a_name_and_a_value() {
        assert!(header("X-A: b").is_ok() && header("X-A:").is_ok());
        assert!(header("X-A").is_err() && header(": b").is_err());
    }

    #[test]
    fn an_answer_shows_rules_instances_and_differences() {
        let condition = |matches: bool, value: Value| json!({"on": "header X-Beta", "is": "1", "value": value, "matches": matches});
        let edge = json!({
            "edge": "edge-1", "epoch": "e", "applied": 30, "cache": "l1", "host": "a.shop.test",
            "route": "*.shop.test", "revision": 12,
            "rule": {"number": 2, "conditions": [{"on": "path", "is": "/", "value": "/x", "matches": true}]},
            "rules": [{"number": 1, "conditions": [condition(false, Value::Null)]}],
            "app": "shop", "split": {"app": "shop", "by": "cookie uid", "value": "17", "share": 0.9},
            "directives": {"read_timeout": "30s"}, "answer": null, "algorithm": "least_conn",
            "instances": [
                {"id": "a", "addr": "10.0.0.5:80", "weight": 100, "state": "live", "in_flight": 2, "next": true},
                {"id": "b", "addr": "10.0.0.6:80", "weight": 1, "state": "ejected", "in_flight": 0, "next": false},
            ],
            "next": "a",
        });
        let answer = json!({
            "revision": 31, "route": "*.shop.test", "app": "shop",
            "instances": [{"app": "shop", "id": "a", "addr": "10.0.0.5:80", "state": "live", "reason": null}],
            "edges": [
                {"edge": "edge-1", "answer": edge, "error": null},
                {"edge": "edge-2", "answer": null, "error": "it does not answer within 2s"},
            ],
            "differences": ["edge-1 has b as ejected"],
        });
        let expected = "\
http://a.shop.test/x is routed by *.shop.test, as the agent has it at revision 31
  INSTANCE  ADDR         STATE  WHY
  shop/a    10.0.0.5:80  live

edge edge-1
  route       *.shop.test, revision 12, from l1 (the edge is at 30)
  not rule    1  header X-Beta 1: no, the request has none
  rule        2  path /: yes
  app         shop
  split       app shop, by cookie uid, share 0.9, value 17
  directives  read_timeout 30s
  balance     least_conn
  INSTANCE  ADDR         WEIGHT  STATE    IN FLIGHT
  a         10.0.0.5:80  100     live     2          next
  b         10.0.0.6:80  1       ejected  0

edge edge-2: no answer: it does not answer within 2s

differences
  edge-1 has b as ejected
";
        let shown = text(Painter::new(false), "http://a.shop.test/x", &answer);
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_the_edge_itself_answers_is_shown() {
        let answer = json!({
            "revision": 3, "route": null, "app": null, "instances": [], "differences": [],
            "edges": [{"edge": "e", "error": null, "answer": {
                "cache": "negative", "applied": 3, "route": null, "revision": null, "rule": null,
                "rules": [], "pause": {"max": 5}, "answer": {"status": 404, "reason": "no_route", "location": null},
            }}],
        });
        let shown = text(Painter::new(false), "http://x.test/", &answer);
        let expected = "http://x.test/ has no route, as the agent has it at revision 3\n\nedge e\n  \
                        route       none, from negative (the edge is at 3)\n  \
                        pause       max 5\n  \
                        answer      reason no_route, status 404\n";
        assert_eq!(shown, expected);
    }
}
