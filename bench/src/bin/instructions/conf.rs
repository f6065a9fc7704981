//! What is measured: an nginx.conf for each variant.
//!
//! The proxy directives and maps of all of them are those of the shipped files,
//! so that the baseline cannot drift from what it is compared with.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use pointsman_dev::Source;

/// The host that is asked for: a golden record leads from it to [`APP`].
pub const HOST: &str = "shop.example.com";
/// Its app.
pub const APP: &str = "shop";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// nginx without the Lua module, with a static upstream.
    Plain,
    /// A balancer that names one fixed address, nothing else.
    Floor,
    /// The same with a log handler that does nothing: what anything in Lua
    /// costs that routes and counts.
    Handlers,
    /// The least that a dynamic router in Lua could do: a table by host, the
    /// round, the number of tries, and a log handler that counts.
    Toy,
    /// Pointsman without pointsman.log.conf.
    NoLog,
    /// Pointsman with all that a user has on.
    Pointsman,
}

impl Variant {
    /// In the order of the table.
    pub const ALL: [Self; 6] = [
        Self::Plain,
        Self::Floor,
        Self::Handlers,
        Self::Toy,
        Self::NoLog,
        Self::Pointsman,
    ];

    /// As the JSON file and the folders call it.
    pub fn key(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Floor => "floor",
            Self::Handlers => "handlers",
            Self::Toy => "toy",
            Self::NoLog => "no_log",
            Self::Pointsman => "pointsman",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Plain => "plain nginx",
            Self::Floor => "a Lua balancer with one address",
            Self::Handlers => "the same and an empty log handler",
            Self::Toy => "a toy: table, round, tries, counter",
            Self::NoLog => "Pointsman, no log handler",
            Self::Pointsman => "Pointsman, everything on",
        })
    }
}

/// What a configuration is made of.
pub struct Parts<'a> {
    /// The repository's own files.
    pub source: &'a Source,
    /// Lines that load the Lua module.
    pub modules: &'a str,
    /// Where it listens.
    pub edge: SocketAddr,
    /// The instances.
    pub instances: &'a [SocketAddr],
    /// The Redis that holds the routes.
    pub redis_url: &'a str,
}

impl Parts<'_> {
    /// The whole nginx.conf.
    pub fn render(&self, variant: Variant) -> Result<String> {
        let http = match variant {
            Variant::Plain => self.plain()?,
            Variant::Floor => self.lua("floor", "")?,
            Variant::Handlers => self.lua("floor", "    log_by_lua_block { return }\n")?,
            Variant::Toy => self.lua("run", "    log_by_lua_block { require(\"toy\").log() }\n")?,
            Variant::NoLog => self.ours(""),
            Variant::Pointsman => self.ours("pointsman.log.conf"),
        };
        let modules = match variant {
            Variant::Plain => "",
            _ => self.modules,
        };
        Ok(format!("{modules}{}{http}}}\n", COMMON))
    }

    fn plain(&self) -> Result<String> {
        let servers: String = self
            .instances
            .iter()
            .map(|addr| format!("        server {addr};\n"))
            .collect();
        self.other(&format!("{servers}        keepalive 1024;\n"), "")
    }

    fn lua(&self, function: &str, lines: &str) -> Result<String> {
        let toy = self.source.root().join("bench/src/bin/instructions");
        let upstream = format!(
            "        server 0.0.0.1 down;\n\
             \x20       balancer_by_lua_block {{ require(\"toy\").{function}() }}\n\
             \x20       keepalive 1024;\n"
        );
        let addrs: Vec<String> = self
            .instances
            .iter()
            .map(|addr| format!("{{ \"{}\", {} }}", addr.ip(), addr.port()))
            .collect();
        let lines = format!(
            "    lua_package_path \"{}/?.lua;;\";\n\
             \x20   init_by_lua_block {{ require(\"toy\").init(\"{HOST}\", {{ {} }}) }}\n{lines}",
            toy.display(),
            addrs.join(", "),
        );
        self.other(&upstream, &lines)
    }

    /// Without Pointsman, but with its proxy directives.
    fn other(&self, upstream: &str, lines: &str) -> Result<String> {
        let nginx = self.source.nginx();
        let maps = maps(&read(&nginx.join("pointsman.http.conf"))?)?;
        let proxy = proxy_lines(&read(&nginx.join("pointsman.location.conf"))?)?;
        Ok(format!(
            "{maps}{lines}    upstream measured {{\n{upstream}    }}\n\
             \x20   server {{\n        listen {};\n        location / {{\n{proxy}        }}\n    }}\n",
            self.edge
        ))
    }

    fn ours(&self, log: &str) -> String {
        let nginx = self.source.nginx();
        let nginx = nginx.display();
        let log = match log {
            "" => String::new(),
            file => format!("    include \"{nginx}/{file}\";\n"),
        };
        format!(
            r#"    lua_package_path "{lua}/?.lua;;";
    init_by_lua_block {{
        require("pointsman").setup {{ redis = "{redis}" }}
    }}
    include "{nginx}/pointsman.http.conf";
    include "{nginx}/pointsman.start.conf";
{log}    server {{
        listen {edge};
        include "{nginx}/pointsman.server.conf";
        location / {{
            include "{nginx}/pointsman.location.conf";
        }}
    }}
"#,
            lua = self.source.lua().display(),
            redis = self.redis_url,
            edge = self.edge,
        )
    }
}

/// One process, as signals and callgrind are simplest so; what it does for a
/// request is the same.
const COMMON: &str = "daemon off;
master_process off;
pid nginx.pid;
error_log stderr notice;
worker_rlimit_nofile 8192;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path tmp/body;
    proxy_temp_path tmp/proxy;
    fastcgi_temp_path tmp/fastcgi;
    scgi_temp_path tmp/scgi;
    uwsgi_temp_path tmp/uwsgi;
    keepalive_requests 10000000;
";

/// An nginx with an address for each instance; every answer is the same.
pub fn instances(addrs: &[SocketAddr]) -> String {
    let listen: String = addrs
        .iter()
        .map(|addr| format!("        listen {addr};\n"))
        .collect();
    format!("{COMMON}    server {{\n{listen}        return 200 \"ok\\n\";\n    }}\n}}\n")
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// The maps of pointsman.http.conf: what stands before its upstream, without
/// the dicts.
fn maps(http: &str) -> Result<String> {
    let (before, _) = http
        .split_once("\nupstream pointsman {")
        .context("pointsman.http.conf has no upstream")?;
    Ok(before
        .lines()
        .filter(|line| !line.starts_with("lua_shared_dict"))
        .map(|line| format!("{line}\n"))
        .collect())
}

/// The proxy directives of pointsman.location.conf.
fn proxy_lines(location: &str) -> Result<String> {
    let lines: String = location
        .lines()
        .filter(|line| line.starts_with("proxy_"))
        .map(|line| format!("            {line}\n"))
        .collect();
    let ours = "proxy_pass http://pointsman;";
    anyhow::ensure!(
        lines.contains(ours),
        "pointsman.location.conf has no {ours}"
    );
    Ok(lines.replace(ours, "proxy_pass http://measured;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_has_all_proxy_directives_of_the_shipped_file() {
        let source = Source::around(Path::new(".")).unwrap();
        let text = read(&source.nginx().join("pointsman.location.conf")).unwrap();
        let lines = proxy_lines(&text).unwrap();
        assert_eq!(
            lines.matches("proxy_set_header").count(),
            text.matches("\nproxy_set_header").count()
        );
        assert!(lines.ends_with("proxy_pass http://measured;\n"), "{lines}");
    }

    #[test]
    fn the_baseline_has_no_lua() {
        let source = Source::around(Path::new(".")).unwrap();
        let text = read(&source.nginx().join("pointsman.http.conf")).unwrap();
        let maps = maps(&text).unwrap();
        assert!(maps.contains("$pointsman_connection {"), "{maps}");
        let is_lua = |line: &str| line.contains("lua") && !line.starts_with('#');
        assert!(!maps.lines().any(is_lua), "{maps}");
    }
}
