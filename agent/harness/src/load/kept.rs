//! A connection of a client, and what is read from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{LoadAnswer, LoadError, PATIENCE};
use crate::workers::{WORKER_PATH, one_to_each};

const HEADERS: usize = 32;

/// A connection that is kept for as long as the other side keeps it.
pub(super) struct Kept {
    target: SocketAddr,
    stream: Option<TcpStream>,
    request: String,
    bytes: Vec<u8>,
}

impl Kept {
    pub(super) fn to(target: SocketAddr) -> Self {
        Self {
            target,
            stream: None,
            request: String::new(),
            bytes: Vec::with_capacity(16 * 1024),
        }
    }

    /// One to each worker of an nginx.
    pub(super) async fn to_each_worker(edge: SocketAddr, count: usize) -> Vec<Self> {
        let mut by_pid = BTreeMap::new();
        let connected = one_to_each(&mut by_pid, count, async || {
            let mut kept = Self::to(edge);
            let answer = kept.get("worker", WORKER_PATH).await;
            let parsed = answer.map_err(|error| error.to_string())?;
            let answer = kept.answer(&parsed);
            match answer.status {
                200 => Ok((String::from_utf8_lossy(answer.body).into_owned(), kept)),
                other => Err(format!("{WORKER_PATH}: {other}")),
            }
        });
        connected.await.unwrap();
        by_pid.into_values().collect()
    }

    pub(super) async fn connect(&mut self) -> Result<&mut TcpStream, LoadError> {
        // nginx closes idle connections when it reloads; a client sees that
        // and takes a new one.
        if self.stream.as_ref().is_some_and(is_closed) {
            self.stream = None;
        }
        Ok(match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.target).await;
                let stream = stream.map_err(LoadError::Connect)?;
                stream.set_nodelay(true).map_err(LoadError::Connect)?;
                none.insert(stream)
            }
        })
    }

    /// One request; [`Kept::answer`] shows what came.
    pub(super) async fn get(&mut self, host: &str, path: &str) -> Result<Parsed, LoadError> {
        let answer = match timeout(PATIENCE, self.exchange(host, path)).await {
            Ok(answer) => answer,
            Err(_) => Err(LoadError::Patience),
        };
        if answer.as_ref().map_or(true, |parsed| parsed.closes) {
            self.stream = None;
        }
        answer
    }

    pub(super) async fn exchange(&mut self, host: &str, path: &str) -> Result<Parsed, LoadError> {
        let broke_off = |error: std::io::Error| LoadError::BrokeOff(error.to_string());
        self.request.clear();
        let request = &mut self.request;
        let _never = write!(request, "GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        self.bytes.clear();
        self.connect().await?;
        let Some(stream) = &mut self.stream else {
            return Err(LoadError::BrokeOff("no connection".to_owned()));
        };
        let sent = stream.write_all(self.request.as_bytes()).await;
        sent.map_err(broke_off)?;
        loop {
            let read = stream.read_buf(&mut self.bytes).await.map_err(broke_off)?;
            if read == 0 {
                return Err(LoadError::BrokeOff("closed without an answer".to_owned()));
            }
            if let Some(parsed) = parse(&self.bytes).map_err(LoadError::BrokeOff)? {
                return Ok(parsed);
            }
        }
    }

    /// The last answer.
    pub(super) fn answer(&self, parsed: &Parsed) -> LoadAnswer<'_> {
        LoadAnswer {
            status: parsed.status,
            head: &self.bytes[..parsed.head],
            body: &self.bytes[parsed.head..parsed.whole],
        }
    }
}

fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// Where the parts of an answer are.
pub(super) struct Parsed {
    pub(super) status: u16,
    pub(super) head: usize,
    pub(super) whole: usize,
    pub(super) closes: bool,
}

/// A whole answer, or nothing while a part is missing.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Parsed>, String> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(bytes).map_err(|error| error.to_string())?;
    let httparse::Status::Complete(head) = parsed else {
        return Ok(None);
    };
    let (mut length, mut closes) = (None, false);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("content-length") {
            let text = std::str::from_utf8(header.value).unwrap_or_default();
            length = text.parse::<usize>().ok();
        } else if header.name.eq_ignore_ascii_case("connection") {
            closes = header.value.eq_ignore_ascii_case(b"close");
        }
    }
    let whole = head + length.ok_or("an answer without a Content-Length")?;
    let status = response.code.ok_or("an answer without a status")?;
    Ok((bytes.len() >= whole).then_some(Parsed {
        status,
        head,
        whole,
        closes,
    }))
}
