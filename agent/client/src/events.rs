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
pub enum FollowedEvent {
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
    read: EventReader,
}

impl EventStream {
    pub(crate) fn new(client: AgentClient, body: Incoming) -> Self {
        let read = EventReader::default();
        Self { client, body, read }
    }

    /// Waits for the next one; `None` when the agent ends the stream. Cancel
    /// safe.
    pub async fn next(&mut self) -> Result<Option<FollowedEvent>, CallError> {
        loop {
            let read = self.read.next();
            let read = read.map_err(|error| self.client.unreadable(StatusCode::OK, &error))?;
            if read.is_some() {
                return Ok(read);
            }
            if self.read.rest.len() > LONGEST_LINE {
                return Err(self.client.broken("an event is too long".to_owned()));
            }
            match timeout(SILENCE, self.body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.read.rest.extend_from_slice(&data);
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
}

/// Reads what comes, whole lines at a time.
#[derive(Debug, Default)]
struct EventReader {
    /// What has come and is no whole line yet.
    rest: Vec<u8>,
    /// How much of it is known to have no end of a line.
    searched: usize,
    is_gap: bool,
}

impl EventReader {
    /// The next event, if all of it has come. The agent writes the data of each
    /// in one line, behind its name.
    fn next(&mut self) -> serde_json::Result<Option<FollowedEvent>> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                self.is_gap = false;
            } else if line == b"event: gap" {
                self.is_gap = true;
            } else if let Some(data) = line.strip_prefix(b"data: ") {
                return match self.is_gap {
                    true => {
                        let gap: EventGap = serde_json::from_slice(data)?;
                        Ok(Some(FollowedEvent::Gap(gap.from)))
                    }
                    false => Ok(Some(FollowedEvent::Event(serde_json::from_slice(data)?))),
                };
            }
        }
        Ok(None)
    }

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
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENT: &str = r#"{"revision":7,"at":null,"by":"etcd","kind":"route","name":"a.test","op":"delete","before":null,"value":null}"#;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let sent = format!(":\n\nevent: gap\ndata: {{\"from\":5}}\n\ndata: {EVENT}\nid: 7\n\n");
        for length in 1..sent.len() {
            let mut read = EventReader::default();
            let mut found = Vec::new();
            for piece in sent.as_bytes().chunks(length) {
                read.rest.extend_from_slice(piece);
                while let Some(event) = read.next().unwrap() {
                    found.push(event);
                }
            }
            let event = serde_json::from_str(EVENT).unwrap();
            let expected = [FollowedEvent::Gap(5), FollowedEvent::Event(event)];
            assert_eq!(found, expected, "in pieces of {length}");
        }
    }

    #[test]
    fn what_is_no_event_is_told() {
        let mut read = EventReader::default();
        read.rest.extend_from_slice(b"data: {}\n");
        assert!(read.next().is_err());
    }
}
