//! Logs: where they go, and how they look.

use std::error::Error;
use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Logging cannot be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is not one; the configuration lets none such through.
    #[error("the log filter cannot be used")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is a logger in this process already.
    #[error("logging cannot be set up")]
    Init(#[source] Box<dyn Error + Send + Sync>),
}

/// Sends logs to standard error, as `log` says. To be called once, by `main`.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&log.level)?)
        .with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(TelemetryError::Init)?;
    // A panic is a line of the log like any other.
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let payload = panic.payload();
        let what = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown");
        let thread = std::thread::current();
        tracing::error!(
            panic = what,
            place = place.unwrap_or_default(),
            thread = thread.name().unwrap_or_default(),
            backtrace = %std::backtrace::Backtrace::capture(),
            "a task panicked"
        );
    }));
    Ok(())
}
