//! Where reports come from.

use std::fmt;

use async_trait::async_trait;

/// The fields of each hash that was asked for; `None` where there is none.
pub type Hashes = Vec<Option<Vec<(String, String)>>>;

/// What an edge announces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// It has written a report.
    Report(String),
    /// It has quit.
    Goodbye(String),
}

impl Announcement {
    /// Reads a message on the channel `edges`: a name, or a goodbye, which is a
    /// name behind a hyphen.
    pub fn from_message(message: &str) -> Self {
        match message.strip_prefix('-') {
            Some(name) => Self::Goodbye(name.to_owned()),
            None => Self::Report(message.to_owned()),
        }
    }
}

/// Why nothing was read.
#[derive(Debug, thiserror::Error)]
#[error("edges' reports cannot be read")]
pub struct SourceError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// Redis, as far as reports need it.
#[async_trait]
pub trait ReportSource: Send + Sync + fmt::Debug {
    /// Reads the reports of these edges.
    async fn read(&self, names: &[String]) -> Result<Hashes, SourceError>;

    /// Opens the channel of announcements.
    async fn announcements(&self) -> Result<Box<dyn Announcements>, SourceError>;
}

/// An open channel of announcements.
#[async_trait]
pub trait Announcements: Send {
    /// Waits for the next one, and takes those that have come with it. Cancel
    /// safe. Empty: the channel is closed.
    async fn next(&mut self) -> Vec<Announcement>;
}
