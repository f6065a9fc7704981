//! Many requests at once for hosts that are not cached.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::nginx::Edge;
use crate::redis_facts::RedisFacts;

/// How long Redis keeps silent while a crowd gathers.
pub const SILENCE: u64 = 300;

/// A crowd, and what it caused.
#[derive(Clone, Debug, Serialize)]
pub struct Crowd {
    /// Requests that got 200.
    pub good: usize,
    /// How often the instances of an app were read.
    pub reads: u64,
    /// From the first request until the last answer, in milliseconds.
    pub millis: f64,
}

/// Asks for these hosts at once, each over a connection of its own; while Redis
/// holds back its answers, if `silent`, so that all of them are there.
pub async fn ask(
    edge: &Edge,
    facts: &mut RedisFacts,
    hosts: Vec<String>,
    silent: bool,
) -> Result<Crowd> {
    let target = edge.proxy.addr;
    let count = hosts.len();
    let connect = move || (0..count).map(|_| TcpStream::connect(target)).collect();
    let streams: std::io::Result<Vec<TcpStream>> = tokio::task::spawn_blocking(connect).await?;
    let streams = streams?;
    let before = facts.counters().await?;
    if silent {
        facts.pause(SILENCE).await?;
    }
    let begin = Instant::now();
    let statuses = tokio::task::spawn_blocking(move || ask_all(streams, &hosts)).await??;
    let millis = begin.elapsed().as_secs_f64() * 1e3;
    let after = facts.counters().await?;
    let good = statuses
        .iter()
        .filter(|text| text.contains(" 200 "))
        .count();
    Ok(Crowd {
        good,
        reads: after.found() - before.found(),
        millis,
    })
}

/// The same for one host, which must be answered each time.
pub async fn ask_for_one(
    edge: &Edge,
    facts: &mut RedisFacts,
    host: &str,
    count: usize,
) -> Result<u64> {
    let crowd = ask(edge, facts, vec![host.to_owned(); count], true).await?;
    ensure!(
        crowd.good == count,
        "{} of {count} were answered with 200",
        crowd.good
    );
    Ok(crowd.reads)
}

fn ask_all(mut streams: Vec<TcpStream>, hosts: &[String]) -> Result<Vec<String>> {
    for (stream, host) in streams.iter_mut().zip(hosts) {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
    }
    streams.iter_mut().map(status_line).collect()
}

fn status_line(stream: &mut TcpStream) -> Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}
