//! One variant: start it under callgrind, warm it up, count some windows.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::http::{HeaderValue, Method};
use nix::sys::signal::Signal;
use pointsman_dev::http::{self, Connection};
use pointsman_dev::ports;
use pointsman_dev::process::Process;

use crate::backend::{self, Backend};
use crate::callgrind::Callgrind;
use crate::conf::{HOST, Parts, Variant};
use crate::profile::Profile;

/// It starts some thirty times slower under valgrind.
const PATIENCE: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(20);
/// What browsers and probes send, more or less.
const HEADERS: [(&str, &str); 3] = [
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-encoding", "gzip, deflate"),
];

/// How much is counted.
#[derive(Clone, Copy)]
pub struct Plan {
    pub warm_up: usize,
    pub requests: usize,
    pub windows: usize,
    /// Whether misses of the first-level caches are counted, too.
    pub cache: bool,
}

/// Instructions a request.
#[derive(Clone)]
pub struct Count {
    /// Of each window, the least first.
    pub windows: Vec<f64>,
    /// The first of them: where its instructions went.
    pub least: Profile,
}

/// Counts one variant.
pub async fn count(backend: &Backend, root: &Path, variant: Variant, plan: Plan) -> Result<Count> {
    let dir = root.join(variant.key());
    std::fs::create_dir_all(dir.join("tmp"))?;
    let edge = ports::free_loopback();
    let parts = Parts {
        source: &backend.source,
        modules: &backend.modules(),
        edge,
        instances: &backend.instances,
        redis_url: &backend.redis_url,
    };
    let text = parts.render(variant)?;
    let logs = root.join("logs");
    let spec = backend::nginx(&backend.program, &dir, variant.key(), &text, &logs)?;
    let mut callgrind = Callgrind::new(&dir, plan.cache);
    let mut nginx = Process::spawn(&backend.launcher, callgrind.wrap(spec)?)?;
    nginx
        .answers(PATIENCE, async || {
            let answer = http::get(edge, HOST, "/")
                .await
                .map_err(|error| error.to_string())?;
            if answer.status.is_success() {
                Ok(())
            } else {
                Err(answer.status.to_string())
            }
        })
        .await?;

    let mut client = Connection::open(edge).await?;
    ask(&mut client, plan.warm_up).await?;
    callgrind.take(&mut nginx, edge).await?;
    let mut profiles = Vec::new();
    for _ in 0..plan.windows {
        ask(&mut client, plan.requests).await?;
        profiles.push(callgrind.take(&mut nginx, edge).await?);
    }
    profiles.sort_by_key(Profile::total);
    let of_request = |profile: &Profile| profile.total() as f64 / plan.requests as f64;
    let windows = profiles.iter().map(of_request).collect();
    let least = profiles.swap_remove(0);
    drop(client);
    nginx.signal(Signal::SIGQUIT);
    nginx.stop(GRACE).await;
    Ok(Count { windows, least })
}

async fn ask(client: &mut Connection, requests: usize) -> Result<()> {
    for _ in 0..requests {
        let mut request = http::request(Method::GET, HOST, "/some/path?x=1", None)?;
        for (name, value) in HEADERS {
            let value = HeaderValue::from_static(value);
            request.headers_mut().insert(name, value);
        }
        let answer = client.send(request).await.context("a request failed")?;
        ensure!(answer.status.is_success(), "answered {}", answer.status);
    }
    Ok(())
}
