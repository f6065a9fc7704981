//! A shell in a temporary folder, with `pointsman` in its path.

use std::path::Path;

use axum::http::Method;
use pointsman_harness::wait;
use serde_json::Value;
use tokio::process::Command;

use crate::support::PATIENCE;
use crate::support::world::World;

/// A whole Pointsman, and a shell.
pub struct Shell {
    pub world: World,
    dir: tempfile::TempDir,
}

/// What a command printed, on both outputs in their order, and its exit code.
#[derive(Debug)]
pub struct Printed {
    pub text: String,
    pub code: i32,
}

impl Shell {
    pub async fn start() -> Self {
        let world = World::start(1, 1).await;
        let dir = tempfile::tempdir().unwrap();
        let shell = Self { world, dir };
        // The last key that an agent writes by itself when it starts.
        let registry = shell.world.registry().await;
        wait::until("the agent is registered", PATIENCE, async || match registry
            .get("agents/agent-1")
            .await
        {
            Some(_) => Ok(()),
            None => Err("it is not".to_owned()),
        })
        .await
        .unwrap();
        shell.settled().await;
        shell
    }

    pub fn write(&self, file: &str, text: &str) {
        std::fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// Runs a line, with `pointsman` in the path and no settings of a user, and
    /// waits until all of it has arrived everywhere.
    pub async fn run(&self, line: &str) -> Printed {
        let program = Path::new(env!("CARGO_BIN_EXE_pointsman"));
        let folder = program.parent().unwrap().display();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .arg("-c")
            .arg(format!("{{ {line}\n}} 2>&1"))
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", format!("{folder}:{path}"))
            .env("HOME", self.dir.path())
            .env("POINTSMAN_API", self.api())
            .output();
        let output = output.await.unwrap();
        self.settled().await;
        Printed {
            text: String::from_utf8(output.stdout).unwrap(),
            code: output.status.code().unwrap(),
        }
    }

    /// Runs a line that must go well, and gives what it printed.
    pub async fn done(&self, line: &str) -> String {
        let printed = self.run(line).await;
        assert_eq!(printed.code, 0, "{line}: {}", printed.text);
        printed.text
    }

    pub fn api(&self) -> String {
        format!("http://{}", self.world.agents[0].admin())
    }

    /// Waits until the agent's table and the edge have what etcd has: lists are
    /// read from the one, and the other is what `edges` shows.
    async fn settled(&self) {
        self.world.in_step().await;
        wait::until("the edge has applied all", PATIENCE, async || {
            let status = self.world.status(0).await;
            let edge = self.edge().await;
            let revision = &status["redis"]["revision_applied"];
            let applied = &edge["report"]["applied"];
            match revision == applied && *revision == status["etcd"]["revision_seen"] {
                true => Ok(()),
                false => Err(format!("{status} {edge}")),
            }
        })
        .await
        .unwrap();
    }

    /// The edge, as the agent lists it.
    pub async fn edge(&self) -> Value {
        let answer = self.world.api(Method::GET, "/v1/edges", &Value::Null).await;
        let list: Value = serde_json::from_slice(&answer.body).unwrap();
        list["edges"][0].clone()
    }
}
