//! Edges' reports in Redis.

use std::fmt;

use ::redis::aio::{MultiplexedConnection, PubSubStream};
use ::redis::{Msg, RedisError, RedisResult, cmd, pipe};
use async_trait::async_trait;
use futures::{FutureExt as _, StreamExt as _};
use pointsman_edges::source::{Announcement, Announcements, Hashes, ReportSource, SourceError};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::place::{CONNECT_TIMEOUT, Place, RedisOptions, may_be_elsewhere};
use crate::sink::SinkError;

type HashFields = Vec<(String, String)>;

/// The reports in one Redis.
pub struct RedisReports {
    place: Place,
    prefix: String,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl fmt::Debug for RedisReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReports").finish_non_exhaustive()
    }
}

impl RedisReports {
    /// The reports where `options` lead. Nothing is sent yet.
    pub fn with(options: &RedisOptions) -> Result<Self, SinkError> {
        Ok(Self {
            place: Place::of(options)?,
            prefix: options.prefix.clone(),
            connection: Mutex::new(None),
        })
    }

    async fn hashes(&self, names: &[String]) -> RedisResult<Hashes> {
        let mut held = self.connection.lock().await;
        let mut connection = match held.take() {
            Some(connection) => connection,
            None => self.place.connect().await?.1,
        };
        let mut pipeline = pipe();
        for name in names {
            pipeline.add_command(cmd("HGETALL"));
            pipeline.arg(format!("{}edge:{name}", self.prefix));
        }
        pipeline.ignore_errors();
        let answer: RedisResult<Vec<RedisResult<HashFields>>> =
            pipeline.query_async(&mut connection).await;
        if !answer.as_ref().is_err_and(may_be_elsewhere) {
            *held = Some(connection);
        }
        // What is no hash of text is no report.
        let hashes = answer?.into_iter().map(|fields| {
            let fields = fields.unwrap_or_default();
            Some(fields).filter(|fields| !fields.is_empty())
        });
        Ok(hashes.collect())
    }
}

#[async_trait]
impl ReportSource for RedisReports {
    async fn read(&self, names: &[String]) -> Result<Hashes, SourceError> {
        self.hashes(names).await.map_err(failed)
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, SourceError> {
        let open = async {
            let (client, _) = self.place.connect().await?;
            let mut channel = client.get_async_pubsub().await?;
            channel.subscribe(format!("{}edges", self.prefix)).await?;
            Ok(channel.into_on_message())
        };
        let late = |_| SourceError("the channel of edges does not open in time".into());
        let stream = timeout(CONNECT_TIMEOUT * 2, open).await.map_err(late)?;
        Ok(Box::new(Channel(stream.map_err(failed)?)))
    }
}

struct Channel(PubSubStream);

#[async_trait]
impl Announcements for Channel {
    async fn next(&mut self) -> Vec<Announcement> {
        let mut news = Vec::new();
        let mut message = self.0.next().await;
        while let Some(found) = message {
            news.extend(announcement(&found));
            match self.0.next().now_or_never() {
                // Of the messages that were no text nothing is left.
                None if news.is_empty() => message = self.0.next().await,
                None => break,
                Some(more) => message = more,
            }
        }
        news
    }
}

fn announcement(message: &Msg) -> Option<Announcement> {
    let text: String = message.get_payload().ok()?;
    Some(Announcement::from_message(&text))
}

fn failed(error: RedisError) -> SourceError {
    SourceError(Box::new(error))
}
