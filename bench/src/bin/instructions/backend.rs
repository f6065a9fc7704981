//! What the measured nginx needs beside it, natively: a Redis with the records
//! of one app, and an nginx that is all of its instances.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use pointsman_dev::process::{Launcher, Process, Spec};
use pointsman_dev::services::{NginxProgram, Redis, RedisConfig};
use pointsman_dev::{Source, http, ports};
use serde_json::Value;

use crate::conf::{self, APP, HOST};

const PATIENCE: Duration = Duration::from_secs(10);
const GRACE: Duration = Duration::from_secs(5);
/// The table's place when nothing more comes.
const REVISION: u32 = 50;

/// All of it.
pub struct Backend {
    pub launcher: Launcher,
    pub source: Source,
    pub program: NginxProgram,
    pub nginx_version: String,
    pub redis_url: String,
    pub instances: Vec<SocketAddr>,
    serving: Process,
    services: pointsman_dev::Stack,
}

impl Backend {
    /// Starts it in folders below `root`, with so many instances.
    pub async fn start(root: &Path, instances: usize) -> Result<Self> {
        let launcher = Launcher::new(pointsman()?);
        let source = Source::around(Path::new("."))?;
        let program = NginxProgram::find()?;
        let mut services = pointsman_dev::Stack::default();
        let logs = root.join("logs");
        std::fs::create_dir_all(&logs)?;

        let redis = Redis::spawn(
            &launcher,
            &RedisConfig {
                listen: ports::free_loopback(),
                data_dir: root.join("redis"),
                log_dir: logs.clone(),
            },
        )?;
        let redis_url = redis.url();
        services.add(redis).await?;

        let instances: Vec<_> = (0..instances).map(|_| ports::free_loopback()).collect();
        fill(&redis_url, &source, &instances).await?;
        let dir = root.join("instances");
        std::fs::create_dir_all(dir.join("tmp"))?;
        let spec = nginx(
            &program,
            &dir,
            "instances",
            &conf::instances(&instances),
            &logs,
        )?;
        let mut serving = Process::spawn(&launcher, spec)?;
        let addr = *instances.first().context("there must be an instance")?;
        serving
            .answers(PATIENCE, async || {
                let answer = http::get(addr, "localhost", "/").await;
                answer.map(drop).map_err(|error| error.to_string())
            })
            .await?;
        Ok(Self {
            nginx_version: version(&program)?,
            launcher,
            source,
            program,
            redis_url,
            instances,
            serving,
            services,
        })
    }

    /// Lines that load the Lua module.
    pub fn modules(&self) -> String {
        let modules = self.program.modules.iter();
        modules
            .map(|module| format!("load_module \"{}\";\n", module.display()))
            .collect()
    }

    /// Stops it.
    pub async fn stop(mut self) {
        self.serving.stop(GRACE).await;
        self.services.stop().await;
    }
}

/// How an nginx of this configuration is started in `dir`.
pub fn nginx(
    program: &NginxProgram,
    dir: &Path,
    name: &str,
    text: &str,
    logs: &Path,
) -> Result<Spec> {
    let conf = dir.join("nginx.conf");
    // Workers would be another user's else, who may not read the source.
    let user = if nix::unistd::geteuid().is_root() {
        "user root;\n"
    } else {
        ""
    };
    std::fs::write(&conf, format!("{user}{text}"))?;
    let mut spec = Spec::new(name, &program.path, ["-e", "stderr"], logs);
    // The prefix must end with a slash.
    spec.args.extend(["-p".into(), dir.join("").into()]);
    spec.args.extend(["-c".into(), conf.into()]);
    Ok(spec)
}

/// The records as an agent writes them: the golden ones of a host and an app,
/// and an instance for each address.
async fn fill(redis_url: &str, source: &Source, instances: &[SocketAddr]) -> Result<()> {
    let path = source.root().join("t/fixtures/records.json");
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let records: Value = serde_json::from_str(&text)?;
    let mut pipe = redis::pipe();
    for key in [format!("route:{HOST}"), format!("app:{APP}")] {
        let value = golden(&records, &key)?;
        pipe.set(format!("pointsman:{key}"), value).ignore();
    }
    for (n, addr) in instances.iter().enumerate() {
        let value = format!(r#"["40","{addr}",100]"#);
        pipe.hset(format!("pointsman:inst:{APP}"), format!("shop-{n}"), value)
            .ignore();
    }
    let meta = [
        ("format", "1"),
        ("epoch", "bench"),
        ("rev", &REVISION.to_string()),
        ("state", "ready"),
        ("claim", "1"),
        ("next", "0"),
    ];
    pipe.hset_multiple("pointsman:meta", &meta).ignore();
    let client = redis::Client::open(redis_url)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let () = pipe.query_async(&mut connection).await?;
    Ok(())
}

fn golden<'a>(records: &'a Value, key: &str) -> Result<&'a str> {
    records["good"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|record| record["redis"]["key"] == *key)
        .and_then(|record| record["redis"]["value"].as_str())
        .with_context(|| format!("there is no golden record {key}"))
}

/// The agent's binary, which is built beside this one: it starts children that
/// end with us.
fn pointsman() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("pointsman");
    anyhow::ensure!(
        path.is_file(),
        "{} is missing: build it first",
        path.display()
    );
    Ok(path)
}

fn version(program: &NginxProgram) -> Result<String> {
    let output = std::process::Command::new(&program.path)
        .arg("-v")
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    let version = text.trim().rsplit(": ").next().unwrap_or_default();
    Ok(version.to_owned())
}
