//! Following the events: server-sent events, as an agent sends them.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::StatusCode;
use hyper::body::Incoming;
use pointsman_wire::{EventGap, EventItem};
use tokio::time::timeout;

use crate::{AgentClient, CallError};

pub(crate) const CONTENT_TYPE: &str = "text/event-stream";
/// The agent gives a sign of life each 15 s.
const SILENCE: Duration = Duration::from_secs(45);
/// A value in etcd has 1.5 MiB at the most, and an event has two.
const LONGEST_LINE: usize = 16 << 20;

/// What a stream of events brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A change.
    Event(Box<EventItem>),
    /// Changes before this revision may be missing.
    Gap(i64),
}

/// A stream of events that is open. Dropped, it is closed.
#[derive(Debug)]
pub struct EventStream {
    client: AgentClient,
    body: Incoming,
    /// What has come and is no whole line yet.
    rest: Vec<u8>,
    /// How much of `rest` is known to have no end of a line.
    searched: usize,
    is_gap: bool,
}

impl EventStream {
    pub(crate) fn new(client: AgentClient, body: Incoming) -> Self {
        Self {
            client,
            body,
            rest: Vec::new(),
            searched: 0,
            is_gap: false,
        }
    }

    /// Waits for the next one; `None` when the agent ends the stream. Cancel
    /// safe.
    pub async fn next(&mut self) -> Result<Option<Followed>, CallError> {
        loop {
            while let Some(line) = self.line() {
                if let Some(followed) = self.take(&line)? {
                    return Ok(Some(followed));
                }
            }
            if self.rest.len() > LONGEST_LINE {
                return Err(self.client.broken("an event is too long".to_owned()));
            }
            match timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.rest.extend_from_slice(&data);
                    }
                }
                Ok(Some(Err(error))) => return Err(self.client.broken(error.to_string())),
                Ok(None) => return Ok(None),
                Err(_) => {
                    let silence = format!("the stream is silent for {SILENCE:?}");
                    return Err(self.client.broken(silence));
                }
            }
        }
    }

    /// Takes a whole line out of what has come.
    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.rest[self.searched..].iter().position(|b| *b == b'\n');
        let Some(end) = end.map(|end| self.searched + end) else {
            self.searched = self.rest.len();
            return None;
        };
        let mut line: Vec<u8> = self.rest.drain(..=end).collect();
        self.searched = 0;
        line.pop();
        Some(line)
    }

    /// The agent writes each event's data in one line, behind its name.
    fn take(&mut self, line: &[u8]) -> Result<Option<Followed>, CallError> {
        if line.is_empty() {
            self.is_gap = false;
        } else if line == b"event: gap" {
            self.is_gap = true;
        } else if let Some(data) = line.strip_prefix(b"data: ") {
            let followed = match self.is_gap {
                true => serde_json::from_slice(data).map(|gap: EventGap| Followed::Gap(gap.from)),
                false => serde_json::from_slice(data).map(Followed::Event),
            };
            let unreadable = |error| self.client.unreadable(StatusCode::OK, &error);
            return followed.map(Some).map_err(unreadable);
        }
        Ok(None)
    }
}
