//! Other proxies, set up to do the same with one core: the same headers, kept
//! connections to the apps, one retry. A peer that is not installed is left out.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use pointsman_dev::process::Spec;
use pointsman_dev::{ports, programs};

use crate::context::Context;
use crate::fill;
use crate::nginx::KEEPALIVE;
use crate::proxy::Proxy;

/// Go programs get one thread that runs Go code.
const ONE_THREAD: (&str, &str) = ("GOMAXPROCS", "1");
/// Where `make bench` installs Traefik, from the top of the repository.
const TRAEFIK: &str = ".bench/bin/traefik";

fn installed(name: &str) -> Option<PathBuf> {
    programs::find_all(name).into_iter().next()
}

/// The `traefik` program, if there is one.
pub fn traefik_program(ctx: &Context) -> Option<PathBuf> {
    let ours = ctx.source.root().join(TRAEFIK);
    ours.is_file()
        .then_some(ours)
        .or_else(|| installed("traefik"))
}

/// HAProxy, with a map of hosts.
pub async fn haproxy(ctx: &Context, host: &str, servers: &[SocketAddr]) -> Result<Option<Proxy>> {
    let Some(program) = installed("haproxy") else {
        return Ok(None);
    };
    let addr = ports::free_loopback();
    let dir = ctx.folder("haproxy")?;
    let map = dir.join("hosts.map");
    std::fs::write(&map, format!("{host} apps\n"))?;
    let servers: String = servers
        .iter()
        .enumerate()
        .map(|(number, addr)| format!("    server s{number} {addr}\n"))
        .collect();
    let conf = dir.join("haproxy.cfg");
    let text = format!(
        "global\n    nbthread 1\n    maxconn 8192\n\
         defaults\n    mode http\n    timeout connect 2s\n    timeout client 1h\n    \
         timeout server 1m\n    timeout http-keep-alive 1h\n    http-reuse always\n    \
         retries 1\n    option redispatch\n    option forwardfor\n\
         frontend edge\n    bind {addr}\n    \
         http-request set-header X-Forwarded-Host %[req.hdr(host)]\n    \
         http-request set-header X-Forwarded-Proto http\n    \
         http-request set-header X-Request-Id %[uuid()] unless {{ req.hdr(X-Request-Id) -m found }}\n    \
         use_backend %[req.hdr(host),lower,map({map})]\n\
         backend apps\n    balance roundrobin\n{servers}",
        map = map.display(),
    );
    std::fs::write(&conf, text)?;
    let mut spec = Spec::new("haproxy", program, ["-db", "-f"], &dir.join("logs"));
    spec.args.push(conf.into());
    let proxy = Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await?;
    Ok(Some(proxy))
}

/// Caddy.
pub async fn caddy(ctx: &Context, host: &str, servers: &[SocketAddr]) -> Result<Option<Proxy>> {
    let Some(program) = installed("caddy") else {
        return Ok(None);
    };
    let addr = ports::free_loopback();
    let dir = ctx.folder("caddy")?;
    let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
    let text = format!(
        "{{\n    admin off\n    auto_https off\n    grace_period 1s\n}}\n\
         http://{host}:{port} {{\n    bind {ip}\n    reverse_proxy {servers} {{\n        \
         lb_policy round_robin\n        lb_retries 1\n        fail_duration 10s\n        \
         header_up X-Request-Id {{http.request.uuid}}\n        transport http {{\n            \
         keepalive_idle_conns_per_host {KEEPALIVE}\n            compression off\n        \
         }}\n    }}\n}}\n",
        port = addr.port(),
        ip = addr.ip(),
        servers = servers.join(" "),
    );
    let conf = dir.join("Caddyfile");
    std::fs::write(&conf, text)?;
    let spec = Spec::new(
        "caddy",
        program,
        ["run", "--adapter", "caddyfile"],
        &dir.join("logs"),
    );
    let mut spec = spec
        .env(ONE_THREAD.0, ONE_THREAD.1)
        .env("HOME", &dir)
        .env("XDG_DATA_HOME", &dir)
        .env("XDG_CONFIG_HOME", &dir);
    spec.args.extend(["--config".into(), conf.into()]);
    let proxy = Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await?;
    Ok(Some(proxy))
}

/// Traefik, which has its routes from etcd, under the key `traefik/`.
pub async fn traefik(
    ctx: &Context,
    etcd_url: &str,
    host: &str,
    servers: &[SocketAddr],
) -> Result<Option<Proxy>> {
    let Some(program) = traefik_program(ctx) else {
        return Ok(None);
    };
    let router = |key: &str, value: String| (format!("traefik/http/routers/bench/{key}"), value);
    let mut entries = vec![
        router("rule", format!("Host(`{host}`)")),
        router("service", "bench".to_owned()),
        router("entrypoints/0", "web".to_owned()),
    ];
    for (number, addr) in servers.iter().enumerate() {
        let key = format!("traefik/http/services/bench/loadbalancer/servers/{number}/url");
        entries.push((key, format!("http://{addr}")));
    }
    fill::put_keys(etcd_url, entries.into_iter()).await?;

    let addr = ports::free_loopback();
    let dir = ctx.folder("traefik")?;
    let etcd = etcd_url.trim_start_matches("http://");
    let spec = Spec::new(
        "traefik",
        program,
        [
            format!("--entrypoints.web.address={addr}"),
            format!("--providers.etcd.endpoints={etcd}"),
            "--providers.etcd.rootkey=traefik".to_owned(),
            format!("--serverstransport.maxidleconnsperhost={KEEPALIVE}"),
            "--global.checknewversion=false".to_owned(),
            "--global.sendanonymoususage=false".to_owned(),
            "--log.level=ERROR".to_owned(),
        ],
        &dir.join("logs"),
    );
    let spec = spec.env(ONE_THREAD.0, ONE_THREAD.1);
    let proxy = Proxy::start(ctx, spec, addr, host, &ctx.cores.subject).await?;
    Ok(Some(proxy))
}
