//! Finding the programs that we start.

use std::path::PathBuf;

use super::error::DevError;

/// Folders beside those of `$PATH`: a normal user's lacks the `sbin` ones, and
/// OpenResty installs into its own.
const MORE_FOLDERS: [&str; 6] = [
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/local/bin",
    "/sbin",
    "/usr/local/openresty/nginx/sbin",
    "/usr/local/openresty/bin",
];

/// The first of the installed programs of that name.
pub fn find(program: &str, hint: &str) -> Result<PathBuf, DevError> {
    find_all(program)
        .into_iter()
        .next()
        .ok_or_else(|| DevError::NotInstalled {
            program: program.to_owned(),
            hint: hint.to_owned(),
        })
}

/// All installed programs of that name.
pub fn find_all(program: &str) -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(MORE_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(program))
        .filter(|candidate| candidate.is_file())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_a_hint() {
        let error = find("no-such-program", "make deps installs it").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no-such-program was not found: make deps installs it"
        );
    }

    #[test]
    fn a_shell_is_found() {
        assert!(find("sh", "").unwrap().is_absolute());
    }
}
