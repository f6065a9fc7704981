//! What each worker must answer, told from etcd's content alone.

use std::collections::BTreeSet;
use std::time::Duration;

use pointsman_harness::http::Connection;
use pointsman_harness::wait;
use pointsman_mirror::table::{InstanceState, Table};
use serde_json::Value;

use crate::changes::HOSTS;
use pointsman_harness::records::fresh_table;
use pointsman_harness::registry::Registry;
use pointsman_harness::upstreams::SERVED_BY;
use pointsman_harness::workers::Workers;

/// A worker that only has not looked yet is given so long.
const MOMENT: Duration = Duration::from_secs(2);

/// Requests for each instance: so many show one that should not be there, and
/// so many at most are needed to see all that should.
const LEAST: usize = 2;
const MOST: usize = 12;

/// What a host leads to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    NoRoute,
    NoInstance,
    /// One of these addresses, and each of them in turn.
    Instances(BTreeSet<String>),
}

/// Hosts to ask for: those that are bound, or may be, and names beneath them.
pub fn names_to_ask() -> Vec<String> {
    let mut names: Vec<String> = HOSTS.iter().map(|host| name_of(host)).collect();
    names.extend(["a.www.h1.example", "example", "other.example", "127.0.0.10"].map(String::from));
    names
}

/// A name that a route key may be asked for by.
pub fn name_of(key: &str) -> String {
    match key {
        "*" => "nobody.test".to_owned(),
        key => key.replace('*', "some.where"),
    }
}

/// The revision that the edge has applied, from its status.
pub fn applied(status: &Value) -> Option<i64> {
    let applied = &status["applied"];
    applied.as_i64().or_else(|| applied.as_str()?.parse().ok())
}

/// What the table says about a host.
fn outcome(table: &Table, host: &str) -> Outcome {
    let Some(rules) = candidates(host)
        .iter()
        .find_map(|name| rules_of(table, name))
    else {
        return Outcome::NoRoute;
    };
    let app = rules[0]["to"][0]["app"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let live: BTreeSet<String> = table
        .app_named(&app)
        .into_iter()
        .flat_map(|app| app.instances)
        .filter(|view| view.state == InstanceState::Live)
        .filter_map(|view| view.instance)
        .filter(|instance| instance.weight > 0)
        .map(|instance| instance.addr.to_string())
        .collect();
    if live.is_empty() {
        Outcome::NoInstance
    } else {
        Outcome::Instances(live)
    }
}

fn rules_of(table: &Table, name: &str) -> Option<Value> {
    let found = table.routes(name, None, 1).into_iter().next()?;
    if found.host != name {
        return None;
    }
    serde_json::from_str(&found.rules?).ok()
}

/// The host itself, then each wildcard above it, the nearest first.
fn candidates(host: &str) -> Vec<String> {
    let mut names = vec![host.to_owned()];
    let is_ip = host.starts_with('[') || host.parse::<std::net::Ipv4Addr>().is_ok();
    if !is_ip {
        let parents = host
            .match_indices('.')
            .map(|(dot, _)| format!("*.{}", &host[dot + 1..]));
        names.extend(parents);
    }
    names.push("*".to_owned());
    names
}

/// Asks each worker for each host; answers what is not as it should be.
pub async fn wrong_answers(
    registry: &Registry,
    workers: &mut Workers,
    hosts: &[String],
) -> Vec<String> {
    let table = fresh_table(registry).await;
    let mut wrong = Vec::new();
    for (pid, connection) in workers.each() {
        for host in hosts {
            let expected = outcome(&table, host);
            let seen = ask(connection, host, &expected).await;
            if seen.as_ref() == Ok(&expected) {
                continue;
            }
            // A lease that ran out, or a worker that has only not looked yet.
            let settled = wait::until(host, MOMENT, async || {
                let expected = outcome(&fresh_table(registry).await, host);
                let seen = ask(connection, host, &expected).await?;
                if seen == expected {
                    Ok(())
                } else {
                    Err(format!("{seen:?}, should be {expected:?}"))
                }
            });
            if let Err(timed_out) = settled.await {
                wrong.push(format!("worker {pid}, {host}: {}", timed_out.last));
            }
        }
    }
    wrong
}

/// What a worker answers for a host, over as many requests as it takes.
async fn ask(
    connection: &mut Connection,
    host: &str,
    expected: &Outcome,
) -> Result<Outcome, String> {
    let wanted = if let Outcome::Instances(addrs) = expected {
        addrs.len()
    } else {
        1
    };
    let mut served_by = BTreeSet::new();
    for turn in 0..wanted * MOST {
        if turn > wanted * LEAST && served_by.len() >= wanted {
            break;
        }
        let answer = connection
            .get(host, "/")
            .await
            .map_err(|error| error.to_string())?;
        match (answer.status.as_u16(), answer.header("x-pointsman-error")) {
            (404, Some("no_route")) => return Ok(Outcome::NoRoute),
            (503, Some("no_instance")) => return Ok(Outcome::NoInstance),
            (200, None) => {
                served_by.insert(answer.header(SERVED_BY).unwrap_or_default().to_owned());
            }
            (status, reason) => return Err(format!("{status} {reason:?}")),
        }
    }
    Ok(Outcome::Instances(served_by))
}
