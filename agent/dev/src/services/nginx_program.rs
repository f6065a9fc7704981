//! Which nginx to start, and what it takes to have Lua in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::DevError;
use crate::programs;

/// Names to look for, in this order.
const NAMES: [&str; 2] = ["nginx", "openresty"];

/// The modules in the order in which they must be loaded.
const MODULES: [&str; 2] = ["ndk_http_module.so", "ngx_http_lua_module.so"];

/// Folders beside the one that nginx itself names.
const MODULE_FOLDERS: [&str; 3] = [
    "/usr/lib/nginx/modules",
    "/usr/lib64/nginx/modules",
    "/usr/share/nginx/modules",
];

const HINT: &str = "`make deps` installs it on Debian; elsewhere install OpenResty, or nginx \
                    with lua-nginx-module";

/// An nginx that can run Lua.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NginxProgram {
    /// The program.
    pub path: PathBuf,
    /// Modules that must be loaded; none when Lua is built in.
    pub modules: Vec<PathBuf>,
}

impl NginxProgram {
    /// The first installed one that can run Lua.
    pub fn find() -> Result<Self, DevError> {
        NAMES
            .iter()
            .flat_map(|name| programs::find_all(name))
            .find_map(|path| Self::inspect(&path))
            .ok_or_else(|| DevError::NotInstalled {
                program: "nginx with Lua".to_owned(),
                hint: HINT.to_owned(),
            })
    }

    /// The one at `path`, if it can run Lua.
    fn inspect(path: &Path) -> Option<Self> {
        let output = Command::new(path).arg("-V").output().ok()?;
        let build = String::from_utf8_lossy(&output.stderr);
        let modules = if has_lua_built_in(&build) {
            Vec::new()
        } else {
            modules_path(&build)
                .into_iter()
                .chain(MODULE_FOLDERS.map(PathBuf::from))
                .map(|folder| MODULES.map(|module| folder.join(module)))
                .find(|modules| modules.iter().all(|module| module.is_file()))?
                .to_vec()
        };
        Some(Self {
            path: path.to_owned(),
            modules,
        })
    }
}

/// OpenResty has `--add-module=../ngx_lua-0.10.28`; a module of its own is
/// `--add-dynamic-module`.
fn has_lua_built_in(build: &str) -> bool {
    build.split_whitespace().any(|word| {
        word.strip_prefix("--add-module=").is_some_and(|module| {
            module.rsplit('/').next().is_some_and(|name| {
                name.starts_with("ngx_lua") || name.starts_with("lua-nginx-module")
            })
        })
    })
}

fn modules_path(build: &str) -> Option<PathBuf> {
    build
        .split_whitespace()
        .find_map(|word| word.strip_prefix("--modules-path="))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openresty_has_lua_built_in() {
        let openresty = "configure arguments: --prefix=/usr/local/openresty/nginx \
                         --add-module=../echo-nginx-module-0.63 --add-module=../ngx_lua-0.10.28 \
                         --add-module=../ngx_lua_upstream-0.07";
        assert!(has_lua_built_in(openresty));
    }

    #[test]
    fn debian_loads_modules() {
        let debian = "configure arguments: --modules-path=/usr/lib/nginx/modules --with-compat \
                      --add-dynamic-module=/build/lua-nginx-module";
        assert!(!has_lua_built_in(debian));
        assert_eq!(
            modules_path(debian),
            Some(PathBuf::from("/usr/lib/nginx/modules"))
        );
    }
}
