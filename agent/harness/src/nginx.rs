//! Every nginx.conf that is not a user's: variants of the one that `pointsman
//! dev` starts, which is the only place that names Pointsman's includes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use pointsman::dev::Source;
use pointsman::dev::process::Spec;
use pointsman::dev::services::NginxProgram;

/// The template of `pointsman dev`.
const TEMPLATE: &str = include_str!("../../src/dev/services/nginx.conf.in");
/// Where its http block becomes Pointsman's own.
const OURS: &str = "    lua_package_path";

/// What is shipped, within the folder `nginx`: the http level, and a location.
const HTTP: &str = "pointsman.http.conf";
const LOCATION: &str = "pointsman.location.conf";

/// The keepalive pool of the shipped include.
pub const KEEPALIVE: usize = 1024;

/// An nginx.conf under construction.
#[derive(Clone, Debug)]
pub struct Conf {
    text: String,
}

impl Conf {
    /// With Pointsman in it: where it listens, where it shows its status, and
    /// the Redis that it follows.
    pub fn ours(edge: SocketAddr, status: SocketAddr, redis_url: &str) -> Self {
        let source = crate::source();
        let text = TEMPLATE
            .replace("{lua}", &source.lua().display().to_string())
            .replace("{nginx}", &source.nginx().display().to_string())
            .replace("{redis}", redis_url)
            .replace("{edge}", &edge.to_string())
            .replace("{status}", &status.to_string());
        Self { text }
    }

    /// With these lines in the http block in place of Pointsman's.
    pub fn other(http: &str) -> Self {
        let (general, _) = TEMPLATE.split_once(OURS).unwrap();
        Self {
            text: format!("{general}{http}}}\n"),
        }
    }

    /// Replaces what must stand there just once.
    #[must_use]
    pub fn with(self, old: &str, new: &str) -> Self {
        Self {
            text: replace_one(&self.text, old, new),
        }
    }

    /// More lines in the server that takes requests.
    #[must_use]
    pub fn server_lines(self, lines: &str) -> Self {
        self.with("{server}", lines)
    }

    /// More lines in the server that shows the status.
    #[must_use]
    pub fn status_lines(mut self, lines: &str) -> Self {
        let end = self.text.rfind("    }\n}").unwrap();
        self.text.insert_str(end, lines);
        self
    }

    /// More settings for `setup`, as Lua has them: `, max_hosts = 1`.
    #[must_use]
    pub fn settings(self, settings: &str) -> Self {
        self.with(
            " }\n    }\n\n    include",
            &format!("{settings} }}\n    }}\n\n    include"),
        )
    }

    /// Without the line that includes what ends so.
    #[must_use]
    pub fn without_include(mut self, file: &str) -> Self {
        let end = format!("{file}\";");
        let lines = self.text.lines();
        let (gone, left): (Vec<_>, Vec<_>) = lines.partition(|line| line.ends_with(&end));
        assert_eq!(gone.len(), 1, "not one include of {file}");
        self.text = left.join("\n") + "\n";
        self
    }

    /// With a copy of the shipped http include, changed so, which is put into
    /// `dir`.
    #[must_use]
    pub fn with_http(self, dir: &Path, changes: &[(String, String)]) -> Self {
        if changes.is_empty() {
            return self;
        }
        let shipped = crate::source().nginx().join(HTTP);
        let mut text = read(&shipped);
        for (old, new) in changes {
            text = replace_one(&text, old, new);
        }
        let copy = dir.join("changed.http.conf");
        std::fs::write(&copy, text).unwrap();
        self.with(&shipped.display().to_string(), &copy.display().to_string())
    }

    /// Writes it into `dir`; answers what starts it.
    pub fn write(
        mut self,
        name: &str,
        program: &NginxProgram,
        workers: usize,
        dir: &Path,
        log_dir: &Path,
    ) -> Spec {
        let modules = program.modules.iter();
        let modules: String = modules
            .map(|module| format!("load_module \"{}\";\n", module.display()))
            .collect();
        // Workers of a root's nginx would run as nobody, who may not read the
        // sources.
        let user = if geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        self.text = self
            .text
            .replace("{modules}", &modules)
            .replace("{user}", user)
            .replace("{workers}", &workers.to_string())
            .replace("{server}", "");
        std::fs::create_dir_all(dir.join("tmp")).unwrap();
        let conf = dir.join("nginx.conf");
        std::fs::write(&conf, &self.text).unwrap();
        let mut spec = Spec::new(name, &program.path, ["-e", "stderr"], log_dir);
        // The prefix must end with a slash.
        spec.args.extend(["-p".into(), dir.join("").into()]);
        spec.args.extend(["-c".into(), conf.into()]);
        spec
    }
}

/// Of the shipped includes, what an nginx without Pointsman can have, too: so
/// both sides of a comparison always have the same.
#[derive(Debug)]
pub struct Shipped {
    /// The maps.
    pub maps: String,
    /// The proxy directives, without `proxy_pass`.
    pub directives: String,
}

impl Shipped {
    /// Reads them.
    pub fn read(source: &Source) -> Self {
        let nginx = source.nginx();
        Self::parse(&read(&nginx.join(HTTP)), &read(&nginx.join(LOCATION)))
    }

    /// Maps end at a line with a lone brace.
    fn parse(http: &str, location: &str) -> Self {
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
        assert!(
            maps.contains("$pointsman_host") && directives.contains("$pointsman_request_id"),
            "the shipped includes have changed their form"
        );
        Self { maps, directives }
    }
}

/// The shipped include of the http level.
pub fn http_include() -> PathBuf {
    crate::source().nginx().join(HTTP)
}

fn read(path: &Path) -> String {
    let text = std::fs::read_to_string(path);
    text.unwrap_or_else(|error| panic!("failed to read {}: {error}", path.display()))
}

fn replace_one(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "not one {old:?} in:\n{text}");
    text.replace(old, new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_side_has_the_shipped_directives() {
        let nginx = crate::source().nginx();
        let (http, location) = (read(&nginx.join(HTTP)), read(&nginx.join(LOCATION)));
        let shipped = Shipped::parse(&http, &location);
        let next = "proxy_next_upstream error timeout;";
        assert!(shipped.directives.contains(next));
        let headers = location.matches("\nproxy_set_header ").count();
        assert!(headers > 5);
        let taken = shipped.directives.matches("proxy_set_header ").count();
        assert_eq!(taken, headers);
        assert!(!shipped.maps.contains("upstream pointsman"));
        let is_lua = |line: &str| line.contains("lua") && !line.starts_with('#');
        assert!(!shipped.maps.lines().any(is_lua), "{}", shipped.maps);
        let braces = |brace| shipped.maps.matches(brace).count();
        assert_eq!(braces('{'), braces('}'));
        assert!(http.contains(&format!("keepalive {KEEPALIVE};")));
    }

    #[test]
    fn another_http_block_has_nothing_of_pointsman() {
        let conf = Conf::other("    server { listen 127.0.0.1:1; }\n").text;
        assert!(
            !conf.contains("pointsman.") && !conf.contains("lua"),
            "{conf}"
        );
        let braces = |brace| conf.replace("{modules}{user}", "").matches(brace).count();
        assert_eq!(braces('{'), braces('}'));
    }
}
