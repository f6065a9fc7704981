//! Every nginx.conf that is not a user's: variants of the one that `pointsman
//! dev` starts, which is the only place that names Pointsman's includes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use pointsman_dev::process::Spec;
use pointsman_dev::services::NginxProgram;

/// The template of `pointsman-dev`.
const TEMPLATE: &str = include_str!("../../dev/src/services/nginx.conf.in");
/// Where its http block becomes Pointsman's own.
const OURS: &str = "    lua_package_path";

/// The folder that is placed beside each nginx.conf, and its file for the http
/// level.
const FOLDER: &str = "pointsman";
const HTTP: &str = "http.conf";
/// Of that file, what an nginx without Lua understands ends here.
const UPSTREAMS: &str = "# ---- Upstreams";

/// The keepalive pool of the shipped include.
pub const KEEPALIVE: usize = 1024;

/// An nginx.conf under construction.
#[derive(Clone, Debug)]
pub struct Conf {
    text: String,
    http_changes: Vec<(String, String)>,
}

impl Conf {
    /// With Pointsman in it: where it listens, where it shows its status, and
    /// the Redis that it follows.
    pub fn ours(edge: SocketAddr, status: SocketAddr, redis_url: &str) -> Self {
        let source = crate::source();
        let text = TEMPLATE
            .replace("{lua}", &source.lua().display().to_string())
            .replace("{redis}", redis_url)
            .replace("{edge}", &edge.to_string())
            .replace("{status}", &status.to_string());
        Self {
            text,
            http_changes: Vec::new(),
        }
    }

    /// With these lines in the http block in place of Pointsman's.
    pub fn other(http: &str) -> Self {
        let (general, _) = TEMPLATE.split_once(OURS).unwrap();
        Self {
            text: format!("{general}{http}}}\n"),
            http_changes: Vec::new(),
        }
    }

    /// Replaces what must stand there just once.
    #[must_use]
    pub fn with(mut self, old: &str, new: &str) -> Self {
        self.text = replace_one(&self.text, old, new);
        self
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
        let end = format!("{FOLDER}/{file};");
        let lines = self.text.lines();
        let (gone, left): (Vec<_>, Vec<_>) = lines.partition(|line| line.ends_with(&end));
        assert_eq!(gone.len(), 1, "not one include of {file}");
        self.text = left.join("\n") + "\n";
        self
    }

    /// With the shipped file for the http level changed so.
    #[must_use]
    pub fn with_http(mut self, changes: &[(String, String)]) -> Self {
        self.http_changes.extend_from_slice(changes);
        self
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
        self.write_folder(&dir.join(FOLDER));
        let conf = dir.join("nginx.conf");
        std::fs::write(&conf, &self.text).unwrap();
        let mut spec = Spec::new(name, &program.path, ["-e", "stderr"], log_dir);
        // The prefix must end with a slash.
        spec.args.extend(["-p".into(), dir.join("").into()]);
        spec.args.extend(["-c".into(), conf.into()]);
        spec
    }

    fn write_folder(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for entry in std::fs::read_dir(shipped_folder()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        let mut http = read(&shipped_folder().join(HTTP));
        for (old, new) in &self.http_changes {
            http = replace_one(&http, old, new);
        }
        std::fs::write(folder.join(HTTP), http).unwrap();
    }
}

/// Of the shipped files, what an nginx without Pointsman can have, too: so both
/// sides of a comparison always have the same.
#[derive(Debug)]
pub struct Shipped {
    /// The variables.
    pub maps: String,
    /// The proxy directives, without `proxy_pass`.
    pub directives: String,
}

impl Shipped {
    /// Reads them.
    pub fn read() -> Self {
        let http = read(&shipped_folder().join(HTTP));
        let (maps, _) = http.split_once(UPSTREAMS).unwrap();
        let location = read(&shipped_folder().join("location.conf"));
        let directives = location.lines().filter(|line| {
            let is_ours = line.contains("rewrite.conf") || line.starts_with("proxy_pass");
            !is_ours && !line.starts_with('#')
        });
        Self {
            maps: maps
                .lines()
                .filter(|line| !line.starts_with("lua_"))
                .map(|line| format!("{line}\n"))
                .collect(),
            directives: directives
                .map(|line| format!("            {line}\n"))
                .collect(),
        }
    }
}

/// The nginx files as they are shipped.
pub fn shipped_folder() -> PathBuf {
    crate::source().nginx().join(FOLDER)
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
    fn the_plain_side_has_the_shipped_directives_and_no_lua() {
        let shipped = Shipped::read();
        assert_eq!(
            shipped
                .directives
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" "),
            "include pointsman/proxy.conf; proxy_next_upstream error timeout;"
        );
        assert!(shipped.maps.contains("$pointsman_upstream_host {"));
        let is_lua = |line: &str| line.contains("lua") && !line.starts_with('#');
        assert!(!shipped.maps.lines().any(is_lua), "{}", shipped.maps);
        let http = read(&shipped_folder().join(HTTP));
        assert!(http.contains(&format!("keepalive {KEEPALIVE};")));
    }

    #[test]
    fn another_http_block_has_nothing_of_pointsman() {
        let conf = Conf::other("    server { listen 127.0.0.1:1; }\n").text;
        assert!(
            !conf.contains("pointsman/") && !conf.contains("lua"),
            "{conf}"
        );
        let braces = |brace| conf.replace("{modules}{user}", "").matches(brace).count();
        assert_eq!(braces('{'), braces('}'));
    }
}
