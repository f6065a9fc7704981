//! Every nginx that takes part: the apps behind, the plain one, Pointsman's,
//! and one whose Lua asks Redis for each request. They differ in their http
//! block; what stands around it is one template.
//!
//! The plain one's proxy directives are read from the shipped includes, so that
//! both sides always have the same.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::geteuid;
use pointsman_dev::ports;
use pointsman_dev::process::Spec;
use pointsman_dev::services::NginxProgram;

use crate::context::Context;
use crate::proxy::Proxy;

const TEMPLATE: &str = include_str!("nginx/main.conf.in");
const FLOOR: &str = include_str!("nginx/floor.conf.in");
const REDIS_EACH: &str = include_str!("nginx/redis_each.conf.in");
/// What every app answers.
const BODY: &str = "Hello from an app behind the edge.\\n";
/// The keepalive pool of the shipped include.
pub const KEEPALIVE: usize = 1024;

/// An nginx configuration for one http block. Returns what starts it.
fn write(ctx: &Context, name: &str, http: &str) -> Result<Spec> {
    write_for(ctx, name, http, 1)
}

fn write_for(ctx: &Context, name: &str, http: &str, workers: usize) -> Result<Spec> {
    let program = NginxProgram::find()?;
    let dir = ctx.folder(name)?;
    std::fs::create_dir(dir.join("tmp"))?;
    let modules: String = program
        .modules
        .iter()
        .map(|module| format!("load_module \"{}\";\n", module.display()))
        .collect();
    // Workers of a root's nginx would run as nobody, who may not read the
    // sources.
    let user = if geteuid().is_root() {
        "user root;"
    } else {
        ""
    };
    let text = TEMPLATE
        .replace("{modules}", &modules)
        .replace("{user}", user)
        .replace("{workers}", &workers.to_string())
        .replace("{http}", http);
    let conf = dir.join("nginx.conf");
    std::fs::write(&conf, text)?;
    let mut spec = Spec::new(name, &program.path, ["-e", "stderr"], &dir.join("logs"));
    // The prefix must end with a slash.
    spec.args.extend(["-p".into(), dir.join("").into()]);
    spec.args.extend(["-c".into(), conf.into()]);
    Ok(spec)
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
    let spec = write(ctx, "apps", &http)?;
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
    with_upstream(ctx, "plain", "", &servers, keepalive).await
}

/// The least that any router in Lua costs: a balancer that names the next one of
/// these servers, all at one port, and a log handler that does nothing.
pub async fn floor(ctx: &Context, servers: &[SocketAddr]) -> Result<Proxy> {
    let hosts: Vec<_> = servers
        .iter()
        .map(|addr| format!("\"{}\"", addr.ip()))
        .collect();
    let port = servers.first().context("no instances")?.port();
    let lines = FLOOR
        .replace("{hosts}", &hosts.join(", "))
        .replace("{port}", &port.to_string());
    let upstream = "        server 0.0.0.1 down;\n        \
                    balancer_by_lua_block { next_peer() }\n";
    with_upstream(ctx, "floor", &lines, upstream, KEEPALIVE).await
}

/// nginx with one upstream and the shipped proxy directives.
async fn with_upstream(
    ctx: &Context,
    name: &str,
    lines: &str,
    upstream: &str,
    keepalive: usize,
) -> Result<Proxy> {
    let addr = ports::free_loopback();
    let shipped = Shipped::read(ctx)?;
    let http = format!(
        "{maps}\n{lines}\n    upstream apps {{\n{upstream}        keepalive {keepalive};\n    }}\n    \
         server {{\n        listen {addr};\n        location / {{\n{directives}            \
         proxy_pass http://apps;\n        }}\n    }}\n",
        maps = shipped.maps,
        directives = shipped.directives,
    );
    let spec = write(ctx, name, &http)?;
    Proxy::start(ctx, spec, addr, "any.example", &ctx.cores.subject).await
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
    /// One more worker process, which only follows the stream.
    pub feed_worker: bool,
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
    let include = shipped_with(ctx, options)?;
    let mut settings = format!(r#"redis = "{redis_url}""#);
    if let Some(number) = options.max_hosts {
        settings += &format!(", max_hosts = {number}");
    }
    if options.feed_worker {
        settings += r#", feed_worker = "own""#;
    }
    let (lua, nginx) = (ctx.source.lua(), ctx.source.nginx());
    let http = format!(
        r#"    lua_package_path "{lua}/?.lua;;";
    init_by_lua_block {{
        require("pointsman").setup {{ {settings} }}
    }}
    include "{http}";
    include "{nginx}/pointsman.start.conf";
    include "{nginx}/pointsman.log.conf";
    server {{
        listen {addr};
        include "{nginx}/pointsman.server.conf";
{server_lines}        location / {{
            include "{nginx}/pointsman.location.conf";
        }}
    }}
    server {{
        listen {status};
        include "{nginx}/pointsman.status.conf";
{lines}    }}
"#,
        lua = lua.display(),
        nginx = nginx.display(),
        http = include.display(),
        lines = options.status_lines,
        server_lines = options.server_lines,
    );
    let workers = options.workers.unwrap_or(1) + usize::from(options.feed_worker);
    let spec = write_for(ctx, "pointsman", &http, workers)?;
    let proxy = Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await?;
    Ok(Edge { proxy, status })
}

/// nginx whose Lua asks Redis for each request: one GET of `bench:<host>`,
/// which holds `host:port`, over a kept connection.
pub async fn redis_each(ctx: &Context, redis: SocketAddr, host: &str) -> Result<Proxy> {
    let addr = ports::free_loopback();
    let shipped = Shipped::read(ctx)?;
    let http = REDIS_EACH
        .replace("{maps}", &shipped.maps)
        .replace("{directives}", &shipped.directives)
        .replace("{redis_host}", &redis.ip().to_string())
        .replace("{redis_port}", &redis.port().to_string())
        .replace("{keepalive}", &KEEPALIVE.to_string())
        .replace("{addr}", &addr.to_string());
    let spec = write(ctx, "redis-each", &http)?;
    Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await
}

/// The shipped http include, or a copy with other numbers.
fn shipped_with(ctx: &Context, options: &EdgeOptions) -> Result<PathBuf> {
    let shipped = ctx.source.nginx().join("pointsman.http.conf");
    if options.keepalive.is_none() && options.routes_dict.is_none() {
        return Ok(shipped);
    }
    let mut text = std::fs::read_to_string(&shipped)?;
    if let Some(keepalive) = options.keepalive {
        let new = format!("keepalive {keepalive};");
        text = replace_one(&text, &format!("keepalive {KEEPALIVE};"), &new)?;
    }
    if let Some(size) = &options.routes_dict {
        let new = format!("lua_shared_dict pointsman_routes {size};");
        text = replace_one(&text, "lua_shared_dict pointsman_routes    256m;", &new)?;
    }
    let path = ctx.folder("include")?.join("pointsman.http.conf");
    std::fs::write(&path, text)?;
    Ok(path)
}

fn replace_one(text: &str, old: &str, new: &str) -> Result<String> {
    ensure!(
        text.matches(old).count() == 1,
        "pointsman.http.conf has not just one {old:?}"
    );
    Ok(text.replace(old, new))
}

/// Of the shipped includes, what a plain nginx can have, too.
struct Shipped {
    maps: String,
    directives: String,
}

impl Shipped {
    fn read(ctx: &Context) -> Result<Self> {
        let read = |name: &str| {
            let path = ctx.source.nginx().join(name);
            std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        Self::parse(
            &read("pointsman.http.conf")?,
            &read("pointsman.location.conf")?,
        )
    }

    /// Maps end at a line with a lone brace.
    fn parse(http: &str, location: &str) -> Result<Self> {
        let (mut maps, mut inside) = (String::new(), false);
        for line in http.lines() {
            inside |= line.starts_with("map ");
            if inside {
                maps.push_str(line);
                maps.push('\n');
            }
            inside &= line != "}";
        }
        let directives: String = location
            .lines()
            .filter(|line| line.starts_with("proxy_") && !line.starts_with("proxy_pass"))
            .map(|line| format!("            {line}\n"))
            .collect();
        ensure!(
            maps.contains("$pointsman_host") && directives.contains("$pointsman_request_id"),
            "the shipped includes have changed their form"
        );
        Ok(Self { maps, directives })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_side_has_the_shipped_directives() {
        let nginx = concat!(env!("CARGO_MANIFEST_DIR"), "/../nginx/");
        let read = |name| std::fs::read_to_string(format!("{nginx}{name}")).unwrap();
        let location = read("pointsman.location.conf");
        let shipped = Shipped::parse(&read("pointsman.http.conf"), &location).unwrap();
        assert!(
            shipped
                .directives
                .contains("proxy_next_upstream error timeout;")
        );
        let headers = location.matches("proxy_set_header ").count();
        assert!(headers > 5);
        assert_eq!(
            shipped.directives.matches("proxy_set_header ").count(),
            headers
        );
        assert!(!shipped.maps.contains("upstream pointsman"));
        assert_eq!(
            shipped.maps.matches('{').count(),
            shipped.maps.matches('}').count()
        );
    }

    #[test]
    fn instances_have_addresses_of_their_own() {
        let addrs = app_addrs(1000).unwrap();
        let distinct: std::collections::HashSet<_> = addrs.iter().collect();
        assert_eq!(distinct.len(), 1000);
        assert!(addrs.iter().all(|addr| addr.ip().is_loopback()));
    }
}
