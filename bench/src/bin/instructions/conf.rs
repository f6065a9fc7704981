//! What is measured: an nginx.conf for each variant.
//!
//! The proxy directives and maps of all of them are those of the shipped files,
//! so that the baseline cannot drift from what it is compared with.

use std::fmt;
use std::net::SocketAddr;

use clap::ValueEnum;
use pointsman_harness::nginx::{Conf, KEEPALIVE, Shipped};
use pointsman_harness::{Source, ports};

/// The host that is asked for: a golden record leads from it to [`APP`].
pub const HOST: &str = "shop.example.com";
/// Its app.
pub const APP: &str = "shop";

const EMPTY_HANDLERS: &str = "    rewrite_by_lua_block { return }
    log_by_lua_block { return }
";
const TOY_HANDLERS: &str = "    rewrite_by_lua_block { return require(\"toy\").route() }
    log_by_lua_block { require(\"toy\").log() }
";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Variant {
    /// nginx without the Lua module, with a static upstream.
    Plain,
    /// A balancer that names one fixed address, nothing else.
    Floor,
    /// The same with a rewrite and a log handler that do nothing: what anything
    /// in Lua costs that decides, connects, and counts.
    Handlers,
    /// The least that a dynamic router in Lua could do in the same three
    /// handlers: a table by host, the round, the number of tries, a count.
    Toy,
    /// Pointsman without pointsman/log.conf.
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
            Self::Handlers => "the same and two empty handlers",
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
    /// Where it listens.
    pub edge: SocketAddr,
    /// The instances.
    pub instances: &'a [SocketAddr],
    /// The Redis that holds the routes.
    pub redis_url: &'a str,
}

impl Parts<'_> {
    /// The whole nginx.conf.
    pub fn conf(&self, variant: Variant) -> Conf {
        let ours = || Conf::ours(self.edge, ports::free_loopback(), self.redis_url);
        one_process(match variant {
            Variant::Plain => self.plain(),
            Variant::Floor => self.lua("floor", ""),
            Variant::Handlers => self.lua("floor", EMPTY_HANDLERS),
            Variant::Toy => self.lua("run", TOY_HANDLERS),
            Variant::NoLog => ours().without_include("log.conf"),
            Variant::Pointsman => ours(),
        })
    }

    fn plain(&self) -> Conf {
        let servers: String = self
            .instances
            .iter()
            .map(|addr| format!("        server {addr};\n"))
            .collect();
        self.other(&format!("{servers}        keepalive {KEEPALIVE};\n"), "")
    }

    fn lua(&self, function: &str, lines: &str) -> Conf {
        let toy = self.source.root().join("bench/src/bin/instructions");
        let upstream = format!(
            "        server 0.0.0.1 down;\n\
             \x20       balancer_by_lua_block {{ require(\"toy\").{function}() }}\n\
             \x20       keepalive {KEEPALIVE};\n"
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
    fn other(&self, upstream: &str, lines: &str) -> Conf {
        let Shipped { maps, directives } = Shipped::read();
        let edge = self.edge;
        Conf::other(&format!(
            "{maps}{lines}    upstream measured {{\n{upstream}    }}\n\
             \x20   server {{\n        listen {edge};\n        location / {{\n{directives}\
             \x20           proxy_pass http://measured;\n        }}\n    }}\n"
        ))
    }
}

/// An nginx with an address for each instance; every answer is the same.
pub fn instances(addrs: &[SocketAddr]) -> Conf {
    let listen: String = addrs
        .iter()
        .map(|addr| format!("        listen {addr};\n"))
        .collect();
    one_process(Conf::other(&format!(
        "    server {{\n{listen}        return 200 \"ok\\n\";\n    }}\n"
    )))
}

/// Signals and callgrind are simplest with one process; what it does for a
/// request is the same.
fn one_process(conf: Conf) -> Conf {
    conf.with("daemon off;", "daemon off;\nmaster_process off;")
}
