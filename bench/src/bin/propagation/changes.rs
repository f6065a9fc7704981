//! The changes, and when each was seen.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use etcd_client::{Client, WatchOptions};
use tokio::runtime::Runtime;

use crate::poller::Poller;
use crate::stack::{APP, HOST, Stack};

/// A key outside the registry: no agent looks at it.
const BARE_KEY: &str = "/bare/key";
const PATIENCE: Duration = Duration::from_secs(10);

/// Times of one series.
#[derive(Default)]
pub struct Measured {
    /// `put → watch` of a key that no agent looks at.
    pub bare: Vec<Duration>,
    /// `put → watch` of the instance.
    pub watched: Vec<Duration>,
    /// Put until the last worker sends requests there.
    pub added: Vec<Duration>,
    /// Delete until the last worker no longer does.
    pub removed: Vec<Duration>,
}

/// What makes the changes and looks for them.
pub struct Bench<'a> {
    runtime: &'a Runtime,
    client: Client,
    poller: Poller,
    instance_key: String,
    instance: String,
    instance_events: Receiver<Instant>,
    bare_events: Receiver<Instant>,
}

impl<'a> Bench<'a> {
    pub fn new(runtime: &'a Runtime, stack: &Stack) -> Result<Self> {
        let client = runtime.block_on(Client::connect([&stack.etcd_url], None))?;
        let instance_key = format!("/pointsman/instances/{APP}/1");
        Ok(Self {
            runtime,
            poller: Poller::connect(stack.edge, stack.workers, HOST)?,
            instance: stack.instance.to_string(),
            instance_events: watch(runtime, &client, &instance_key)?,
            bare_events: watch(runtime, &client, BARE_KEY)?,
            instance_key,
            client,
        })
    }

    /// So many times: a bare put, then the instance is added, then removed. In
    /// turns, so that what else the machine does falls on all three alike. Nobody
    /// is asked before the change is out of etcd: no answer could show it, and
    /// on few cores the asking would delay what is measured.
    pub fn run(&mut self, changes: usize, pause: Duration) -> Result<Measured> {
        let mut measured = Measured::default();
        let key = self.instance_key.clone();
        for _ in 0..changes {
            let begin = self.put(BARE_KEY);
            measured.bare.push(seen(&self.bare_events, begin)?);
            std::thread::sleep(pause);

            let begin = self.put(&key);
            measured.watched.push(seen(&self.instance_events, begin)?);
            measured.added.push(self.poller.all_answer(200)? - begin);
            std::thread::sleep(pause);

            let begin = self.delete(&key);
            measured.watched.push(seen(&self.instance_events, begin)?);
            measured.removed.push(self.poller.all_answer(503)? - begin);
            std::thread::sleep(pause);
        }
        Ok(measured)
    }

    /// Sends a put and does not wait for its answer.
    fn put(&self, key: &str) -> Instant {
        let mut client = self.client.kv_client();
        let (key, value) = (key.to_owned(), self.instance.clone());
        let begin = Instant::now();
        self.runtime
            .spawn(async move { client.put(key, value, None).await });
        begin
    }

    fn delete(&self, key: &str) -> Instant {
        let mut client = self.client.kv_client();
        let key = key.to_owned();
        let begin = Instant::now();
        self.runtime
            .spawn(async move { client.delete(key, None).await });
        begin
    }
}

fn seen(events: &Receiver<Instant>, begin: Instant) -> Result<Duration> {
    let at = events
        .recv_timeout(PATIENCE)
        .context("the watch did not see a change")?;
    Ok(at - begin)
}

/// Notes when each change of a key comes in.
fn watch(runtime: &Runtime, client: &Client, key: &str) -> Result<Receiver<Instant>> {
    let (sender, receiver) = channel();
    let mut watcher = client.watch_client();
    let options: Option<WatchOptions> = None;
    let mut stream = runtime.block_on(watcher.watch(key, options))?;
    runtime.spawn(async move {
        while let Ok(Some(message)) = stream.message().await {
            let now = Instant::now();
            for _ in message.events() {
                if sender.send(now).is_err() {
                    return;
                }
            }
        }
    });
    Ok(receiver)
}
