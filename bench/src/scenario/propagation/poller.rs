//! Asks each nginx worker over a kept connection, from one thread.
//!
//! Blocking sockets and a short sleep: on two cores, a client that spins would
//! be measured rather than what it asks.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Between two rounds of requests.
pub(in crate::scenario) const PAUSE: Duration = Duration::from_micros(100);

/// A change that is not seen by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);
/// Which worker takes a connection is up to the kernel.
const TRIES: usize = 5_000;

/// One connection to each worker.
pub(in crate::scenario) struct Poller {
    connections: Vec<TcpStream>,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Poller {
    /// Connects to each of the `workers` workers of each edge, to ask for `host`.
    pub(in crate::scenario) fn connect(
        edges: &[SocketAddr],
        workers: usize,
        host: &str,
    ) -> Result<Self> {
        let mut all = Self::over(Vec::new(), host);
        for edge in edges {
            all.connect_workers(*edge, workers)?;
        }
        Ok(all)
    }

    fn connect_workers(&mut self, edge: SocketAddr, workers: usize) -> Result<()> {
        let mut pids = HashSet::new();
        let mut connections = Vec::new();
        let mut others = Vec::new();
        let mut answer = vec![0; 16 * 1024];
        for _ in 0..TRIES {
            if connections.len() == workers {
                break;
            }
            let mut stream = TcpStream::connect(edge)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.write_all(b"GET /_worker HTTP/1.1\r\nHost: worker\r\n\r\n")?;
            let length = stream.read(&mut answer)?;
            let text = String::from_utf8_lossy(&answer[..length]);
            let pid = text.rsplit("\r\n").next().context("no body")?.to_owned();
            if pids.insert(pid) {
                connections.push(stream);
            } else {
                others.push(stream);
                others.truncate(500);
            }
        }
        anyhow::ensure!(
            connections.len() == workers,
            "not all workers took a connection"
        );
        self.connections.extend(connections);
        Ok(())
    }

    /// A connection to a proxy that is one process.
    pub(in crate::scenario) fn to_one(proxy: SocketAddr, host: &str) -> Result<Self> {
        let stream = TcpStream::connect(proxy)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self::over(vec![stream], host))
    }

    fn over(connections: Vec<TcpStream>, host: &str) -> Self {
        Self {
            connections,
            // HEAD: an answer is its header, whatever it is about.
            request: format!("HEAD / HTTP/1.1\r\nHost: {host}\r\n\r\n").into_bytes(),
            answer: vec![0; 16 * 1024],
        }
    }

    /// Asks until all workers have answered that the host has an instance, or
    /// that it has none; answers when the last one did.
    pub(in crate::scenario) fn all_answer(&mut self, served: bool) -> Result<Instant> {
        let deadline = Instant::now() + PATIENCE;
        let mut waiting: Vec<usize> = (0..self.connections.len()).collect();
        let mut last = Instant::now();
        while !waiting.is_empty() {
            for at in &waiting {
                self.connections[*at].write_all(&self.request)?;
            }
            let mut still = Vec::new();
            for at in waiting {
                if (self.read_status(at)? == 200) == served {
                    last = Instant::now();
                } else {
                    still.push(at);
                }
            }
            waiting = still;
            if Instant::now() > deadline {
                bail!(
                    "{} workers did not come to serve it: {served}",
                    waiting.len()
                );
            }
            if !waiting.is_empty() {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(last)
    }

    fn read_status(&mut self, at: usize) -> Result<u16> {
        let stream = &mut self.connections[at];
        let mut length = 0;
        while !self.answer[..length].ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut self.answer[length..])?;
            anyhow::ensure!(read > 0, "nginx closed the connection");
            length += read;
        }
        let text = std::str::from_utf8(&self.answer[..length])?;
        let status = text.split(' ').nth(1).context("no status line")?;
        Ok(status.parse()?)
    }
}
