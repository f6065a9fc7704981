//! A private authority, made by `openssl`, with a certificate for 127.0.0.1
//! that serves and one that a client shows.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Files in PEM.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// Makes them.
    pub fn make() -> Self {
        let dir = TempDir::new().unwrap();
        let at = dir.path();
        let ca = ["-x509", "-addext", "basicConstraints=critical,CA:TRUE"];
        request(at, "ca", &ca);
        for (name, usage) in [("server", "serverAuth"), ("client", "clientAuth")] {
            let from = ["-x509", "-CA", "ca.pem", "-CAkey", "ca.key"];
            let usage = format!("extendedKeyUsage={usage}");
            let more = [
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-addext",
                &usage,
            ];
            request(at, name, &[&from[..], &more[..]].concat());
        }
        Self { dir }
    }

    /// The file of that name.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as text.
    pub fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    /// What it holds.
    pub fn pem(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }
}

fn request(dir: &Path, name: &str, more: &[&str]) {
    let (key, pem, subject) = (
        format!("{name}.key"),
        format!("{name}.pem"),
        format!("/CN={name}"),
    );
    let out = Command::new("openssl")
        .current_dir(dir)
        .args(["req", "-new", "-newkey", "ec", "-nodes", "-days", "2"])
        .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
        .args(["-keyout", &key, "-out", &pem, "-subj", &subject])
        .args(more)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "openssl made no {name}: {told}");
}
