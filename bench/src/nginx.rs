//! Every nginx that takes part: the apps behind, the plain one, Pointsman's,
//! and one whose Lua asks Redis for each request.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use pointsman_harness::nginx::{Conf, Shipped};
use pointsman_harness::services::NginxProgram;
use pointsman_harness::{Spec, ports};

pub use pointsman_harness::nginx::KEEPALIVE;

use crate::context::Context;
use crate::proxy::Proxy;

const MINIMAL: &str = include_str!("nginx/minimal.conf.in");
const REDIS_EACH: &str = include_str!("nginx/redis_each.conf.in");
/// What every app answers.
const BODY: &str = "Hello from an app behind the edge.\\n";

/// Writes a configuration; answers what starts it.
fn write(ctx: &Context, name: &str, conf: Conf, workers: usize) -> Result<Spec> {
    let program = NginxProgram::find()?;
    let dir = ctx.folder(name)?;
    let conf = conf
        .with("worker_rlimit_nofile 8192;", "worker_rlimit_nofile 16384;")
        .with("worker_connections 4096;", "worker_connections 8192;")
        // Connections are kept, on both sides, for as long as a run takes.
        .with(
            "keepalive_requests 10000000;",
            "keepalive_requests 100000000;\n    keepalive_timeout 1h;\n    server_tokens off;",
        );
    Ok(conf.write(name, &program, workers, &dir, &dir.join("logs")))
}

/// Starts the apps: one nginx that answers at all of these addresses.
pub async fn apps(ctx: &Context, addrs: &[SocketAddr]) -> Result<Proxy> {
    let first = *addrs.first().context("no instances")?;
    let listen: String = addrs
        .iter()
        .map(|addr| format!("        listen {addr};\n"))
        .collect();
    let http =
        format!("    server {{\n{listen}        location / {{ return 200 \"{BODY}\"; }}\n    }}\n");
    let spec = write(ctx, "apps", Conf::other(&http), 1)?;
    Proxy::start(ctx, spec, first, "app", &ctx.cores.others).await
}

/// Addresses for so many instances, all at one free port.
pub fn app_addrs(count: usize) -> Result<Vec<SocketAddr>> {
    let port = ports::free_loopback().port();
    (0..count)
        .map(|number| {
            let (high, low) = (number / 250, number % 250 + 1);
            let high = u8::try_from(high).context("too many instances")?;
            Ok(SocketAddr::from(([127, 9, high, low as u8], port)))
        })
        .collect()
}

/// Plain nginx with a static upstream and a keepalive pool.
pub async fn plain(ctx: &Context, servers: &[SocketAddr], keepalive: usize) -> Result<Proxy> {
    let servers: String = servers
        .iter()
        .map(|addr| format!("        server {addr};\n"))
        .collect();
    with_upstream(ctx, "plain", "", &servers, keepalive, "any.example").await
}

/// The least that a router in Lua with Pointsman's three handlers costs: a table
/// by host, the next one of these servers, all at one port, and a count.
pub async fn minimal(ctx: &Context, servers: &[SocketAddr], host: &str) -> Result<Proxy> {
    let hosts: Vec<_> = servers
        .iter()
        .map(|addr| format!("\"{}\"", addr.ip()))
        .collect();
    let port = servers.first().context("no instances")?.port();
    let lines = MINIMAL
        .replace("{host}", host)
        .replace("{hosts}", &hosts.join(", "))
        .replace("{port}", &port.to_string());
    let upstream = "        server 0.0.0.1 down;\n        \
                    balancer_by_lua_block { next_peer() }\n";
    with_upstream(ctx, "minimal", &lines, upstream, KEEPALIVE, host).await
}

/// nginx with one upstream and the shipped proxy directives.
async fn with_upstream(
    ctx: &Context,
    name: &str,
    lines: &str,
    upstream: &str,
    keepalive: usize,
    host: &str,
) -> Result<Proxy> {
    let addr = ports::free_loopback();
    let shipped = Shipped::read();
    let http = format!(
        "{maps}\n{lines}\n    upstream apps {{\n{upstream}        keepalive {keepalive};\n    }}\n    \
         server {{\n        listen {addr};\n        location / {{\n{directives}            \
         proxy_pass http://apps;\n        }}\n    }}\n",
        maps = shipped.maps,
        directives = shipped.directives,
    );
    let spec = write(ctx, name, Conf::other(&http), 1)?;
    Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await
}

/// How Pointsman's edge differs from what is shipped.
#[derive(Clone, Debug, Default)]
pub struct EdgeOptions {
    /// Connections in the keepalive pool, instead of [`KEEPALIVE`].
    pub keepalive: Option<usize>,
    /// The setting `max_hosts`.
    pub max_hosts: Option<usize>,
    /// The size of the dict of routes, as nginx has it: `16m`.
    pub routes_dict: Option<String>,
    /// More lines for the server that shows the status.
    pub status_lines: String,
    /// More lines for the server that takes requests.
    pub server_lines: String,
    /// Worker processes that take requests, instead of one.
    pub workers: Option<usize>,
}

/// Pointsman's edge, and where it shows its status.
pub struct Edge {
    /// Its nginx.
    pub proxy: Proxy,
    /// Its status listener.
    pub status: SocketAddr,
}

/// Pointsman, with the shipped includes. `host` is one that has a route.
pub async fn edge(
    ctx: &Context,
    redis_url: &str,
    host: &str,
    options: &EdgeOptions,
) -> Result<Edge> {
    let (addr, status) = (ports::free_loopback(), ports::free_loopback());
    let mut settings = String::new();
    if let Some(number) = options.max_hosts {
        settings += &format!(", max_hosts = {number}");
    }
    let mut changes = Vec::new();
    if let Some(keepalive) = options.keepalive {
        let new = format!("keepalive {keepalive};");
        changes.push((format!("keepalive {KEEPALIVE};"), new));
    }
    if let Some(size) = &options.routes_dict {
        let new = format!("lua_shared_dict pointsman_routes {size};");
        changes.push(("lua_shared_dict pointsman_routes    256m;".to_owned(), new));
    }
    let conf = Conf::ours(addr, status, redis_url)
        .settings(&settings)
        .with_http(&changes)
        .server_lines(&options.server_lines)
        .status_lines(&options.status_lines);
    let workers = options.workers.unwrap_or(1);
    let spec = write(ctx, "pointsman", conf, workers)?;
    let proxy = Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await?;
    Ok(Edge { proxy, status })
}

/// nginx whose Lua asks Redis for each request: one GET of `bench:<host>`,
/// which holds `host:port`, over a kept connection.
pub async fn redis_each(ctx: &Context, redis: SocketAddr, host: &str) -> Result<Proxy> {
    let addr = ports::free_loopback();
    let shipped = Shipped::read();
    let http = REDIS_EACH
        .replace("{maps}", &shipped.maps)
        .replace("{directives}", &shipped.directives)
        .replace("{redis_host}", &redis.ip().to_string())
        .replace("{redis_port}", &redis.port().to_string())
        .replace("{keepalive}", &KEEPALIVE.to_string())
        .replace("{addr}", &addr.to_string());
    let spec = write(ctx, "redis-each", Conf::other(&http), 1)?;
    Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_have_addresses_of_their_own() {
        let addrs = app_addrs(1000).unwrap();
        let distinct: std::collections::HashSet<_> = addrs.iter().collect();
        assert_eq!(distinct.len(), 1000);
        assert!(addrs.iter().all(|addr| addr.ip().is_loopback()));
    }
}
