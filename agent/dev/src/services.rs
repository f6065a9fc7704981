//! The services: how each is started, and how it shows that it answers.
//!
//! `pointsman-dev`, the end-to-end tests and the benchmarks start the same
//! ones by the same code.

use async_trait::async_trait;

use super::error::DevError;
use super::process::Process;

mod agent;
mod etcd;
mod nginx;
mod nginx_program;
mod redis;
mod register;

pub use agent::{AgentConfig, AgentProcess};
pub use etcd::{EtcdConfig, EtcdProcess, LOOPBACK_SETTINGS, allow_loopback};
pub use nginx::{NginxConfig, NginxProcess};
pub use nginx_program::NginxProgram;
pub use redis::{RedisConfig, RedisProcess};
pub use register::{RegisterConfig, RegisterProcess};

/// A hint for all of them: what is missing comes with this.
const MAKE_DEPS: &str = "`make deps` installs it on Debian";

/// A service that runs as a child process.
#[async_trait(?Send)]
pub trait Service {
    /// Its process.
    fn process(&mut self) -> &mut Process;

    /// Waits until it answers.
    async fn ready(&mut self) -> Result<(), DevError>;

    /// Whether all is over when it ends by itself. An instance may die: that
    /// is what the rest is for.
    fn is_essential(&self) -> bool {
        true
    }
}

/// Creates a folder with all above it.
fn create_dir(dir: &std::path::Path) -> Result<(), DevError> {
    std::fs::create_dir_all(dir)
        .map_err(DevError::io(format!("create the folder {}", dir.display())))
}
