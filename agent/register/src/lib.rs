//! `pointsman register`: holds an instance in the registry, alone or for as
//! long as a command runs.

use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, info};

mod command;
mod drain;
mod hold;
#[cfg(test)]
mod tests;

use command::StartedCommand;
pub use drain::Drain;
pub use hold::{Holder, Holding, Registration};

/// How often an address is tried that does not accept connections yet.
const KNOCK: Duration = Duration::from_millis(100);
/// How long the command waits for its signal while etcd is slow to forget the
/// instance: traffic should stop first, but a stop must not hang.
const HEAD_START: Duration = Duration::from_secs(1);

/// What to register, and around what.
#[derive(Debug)]
pub struct Register {
    /// The instance in the registry.
    pub holding: Holding,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Wait so long for the address to accept connections.
    pub wait_port: Option<Duration>,
    /// The command to run; may be empty.
    pub command: Vec<OsString>,
    /// This program, through which the command is started so that it ends
    /// when this process is killed.
    pub guard: Option<PathBuf>,
    /// Environment variables that the command must not see, such as a password
    /// of etcd.
    pub private: Vec<String>,
    /// How the instance is drained at a signal to stop, before it is
    /// deregistered.
    pub drain: Option<Drain>,
    /// How long the command may take to end.
    pub grace: Duration,
}

/// Why `register` ended other than as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The command could not be started.
    #[error("the command cannot be started")]
    Spawn(#[source] io::Error),
    /// The address never accepted a connection.
    #[error("{addr} accepted no connection within {}", humantime::format_duration(*.after))]
    NoPort {
        /// The address.
        addr: SocketAddr,
        /// How long it was tried.
        after: Duration,
    },
    /// The task that holds the registration died; the log says why.
    #[error("the registration was abandoned")]
    Abandoned,
}

type Hold = JoinHandle<Result<(), RegisterError>>;

/// What comes first.
enum First {
    CommandEnded(u8),
    Signal(Signal),
    HoldEnded(Result<Result<(), RegisterError>, JoinError>),
}

impl Register {
    /// Runs until the command ends or a signal says stop, and answers the exit
    /// code. SIGTERM, SIGINT and SIGQUIT stop; others are passed on.
    pub async fn run(self, mut signals: mpsc::Receiver<Signal>) -> Result<u8, RegisterError> {
        let mut command = match self.command.as_slice() {
            [] => None,
            command => {
                let guard = self.guard.as_deref();
                let mut command = StartedCommand::spawn(command, guard, &self.private)
                    .map_err(RegisterError::Spawn)?;
                if let Some(code) = command.started().await {
                    return Ok(code);
                }
                Some(command)
            }
        };
        let stop = CancellationToken::new();
        let mut hold = self.hold(stop.clone());
        let mut first = loop {
            let first = tokio::select! {
                code = ended(&mut command) => First::CommandEnded(code),
                Some(signal) = signals.recv() => First::Signal(signal),
                outcome = &mut hold => First::HoldEnded(outcome),
            };
            match (first, &command) {
                (First::Signal(signal), Some(command)) if !stops(signal) => command.pass_on(signal),
                (First::Signal(signal), None) if !stops(signal) => {}
                (first, _) => break first,
            }
        };
        if let (First::Signal(_), Some(drain)) = (&first, &self.drain) {
            tokio::select! {
                () = drain.run() => {}
                code = ended(&mut command) => first = First::CommandEnded(code),
                // There is no time for good manners.
                again = stop_signal(&mut signals) => first = First::Signal(again),
            }
        }
        stop.cancel();
        match first {
            First::CommandEnded(code) => {
                info!(code, "the command ended");
                // A signal now says that there is no time for good manners.
                tokio::select! {
                    _ = &mut hold => {}
                    _ = stop_signal(&mut signals) => {}
                }
                Ok(code)
            }
            First::Signal(signal) => {
                info!(%signal, "stopping");
                Ok(self.finish(signal, command, &mut hold, &mut signals).await)
            }
            First::HoldEnded(outcome) => {
                if let Some(mut command) = command {
                    command.end(Signal::SIGTERM, self.grace).await;
                }
                match outcome {
                    Ok(Err(error)) => Err(error),
                    Ok(Ok(())) | Err(_) => Err(RegisterError::Abandoned),
                }
            }
        }
    }

    /// Starts to hold the registration, once the port is open.
    fn hold(&self, stop: CancellationToken) -> Hold {
        let (holder, _) = Holder::new(self.holding.clone());
        let (addr, wait_port) = (self.addr, self.wait_port);
        let span = tracing::info_span!("hold", %addr);
        let hold = async move {
            if let Some(after) = wait_port {
                let open = stop.run_until_cancelled(timeout(after, accepts(addr)));
                match open.await {
                    Some(Ok(())) => info!("the address accepts connections"),
                    Some(Err(_)) => return Err(RegisterError::NoPort { addr, after }),
                    None => return Ok(()),
                }
            }
            holder.run(stop).await;
            Ok(())
        };
        tokio::spawn(hold.instrument(span))
    }

    /// Lets the registration go, then the command; a second signal ends both
    /// by force.
    async fn finish(
        &self,
        signal: Signal,
        command: Option<StartedCommand>,
        hold: &mut Hold,
        signals: &mut mpsc::Receiver<Signal>,
    ) -> u8 {
        let Some(mut command) = command else {
            return tokio::select! {
                _ = hold => 0,
                again = stop_signal(signals) => code_of(again),
            };
        };
        let gently = async {
            let gone = timeout(HEAD_START, &mut *hold).await.is_ok();
            let code = command.end(signal, self.grace).await;
            if !gone {
                let _ = hold.await;
            }
            code
        };
        let code = tokio::select! {
            code = gently => Ok(code),
            again = stop_signal(signals) => Err(again),
        };
        match code {
            Ok(code) => code,
            Err(again) => {
                command.kill().await;
                code_of(again)
            }
        }
    }
}

fn stops(signal: Signal) -> bool {
    matches!(signal, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT)
}

fn code_of(signal: Signal) -> u8 {
    u8::try_from(128 + signal as i32).unwrap_or(1)
}

async fn stop_signal(signals: &mut mpsc::Receiver<Signal>) -> Signal {
    loop {
        match signals.recv().await {
            Some(signal) if stops(signal) => return signal,
            Some(_) => {}
            None => return pending().await,
        }
    }
}

async fn ended(command: &mut Option<StartedCommand>) -> u8 {
    match command {
        Some(command) => command.ended().await,
        None => pending().await,
    }
}

/// Waits until somebody listens at `addr`.
async fn accepts(addr: SocketAddr) {
    while !matches!(
        timeout(Duration::from_secs(1), TcpStream::connect(addr)).await,
        Ok(Ok(_))
    ) {
        sleep(KNOCK).await;
    }
}
