//! The changes, and when each was seen.

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use etcd_client::{Client, WatchOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;
use tokio::runtime::Handle;

use super::poller::Poller;

/// Keys outside the registry: no agent looks at them.
const BARE: &str = "/bare/";
const PATIENCE: Duration = Duration::from_secs(10);

/// Times of one series, in milliseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Measured {
    /// `put → watch` of a key that no agent looks at.
    pub bare: Vec<f64>,
    /// `put → watch` of the instance.
    pub watched: Vec<f64>,
    /// Put until the last worker sends requests there.
    pub added: Vec<f64>,
    /// Delete until the last worker no longer does.
    pub removed: Vec<f64>,
}

/// A key that comes and goes, with its value.
pub(super) struct Key {
    /// The whole key.
    pub key: String,
    /// What it is put with.
    pub value: String,
}

/// What makes the changes and looks for them. It blocks its thread; what it
/// waits for is done by others.
pub(super) struct Changes {
    client: Client,
    poller: Poller,
    measured: Key,
    measured_events: Receiver<Instant>,
    /// What changes at the same time.
    crowd: Vec<Key>,
    bare_events: Receiver<Instant>,
    random: StdRng,
}

impl Changes {
    pub(super) async fn new(
        etcd_url: &str,
        poller: Poller,
        measured: Key,
        crowd: Vec<Key>,
    ) -> Result<Self> {
        let client = Client::connect([etcd_url], None).await?;
        Ok(Self {
            poller,
            measured_events: watch(&client, &measured.key).await?,
            bare_events: watch(&client, &format!("{BARE}measured")).await?,
            measured,
            crowd,
            client,
            random: StdRng::seed_from_u64(1),
        })
    }

    /// Removes what is measured, which is there, and waits until no request gets
    /// there any more.
    pub(super) fn begin_without(&mut self) -> Result<()> {
        self.burst(1, false);
        seen(&self.measured_events)?;
        self.poller.all_answer(false)?;
        Ok(())
    }

    /// So many times: a bare put, then the instance is added, then removed, each
    /// in the midst of others. In turns, so that what else the machine does falls
    /// on all three alike. Nobody is asked before the change is out of etcd: no
    /// answer could show it, and on few cores the asking would delay what is
    /// measured.
    pub(super) fn run(
        &mut self,
        changes: usize,
        in_flight: usize,
        pause: Duration,
    ) -> Result<Measured> {
        let mut measured = Measured::default();
        let millis = |from: Instant, to: Instant| (to - from).as_secs_f64() * 1e3;
        for _ in 0..changes {
            let begin = self.burst_bare(in_flight);
            measured.bare.push(millis(begin, seen(&self.bare_events)?));
            std::thread::sleep(pause);

            let begin = self.burst(in_flight, true);
            measured
                .watched
                .push(millis(begin, seen(&self.measured_events)?));
            measured
                .added
                .push(millis(begin, self.poller.all_answer(true)?));
            std::thread::sleep(pause);

            let begin = self.burst(in_flight, false);
            measured
                .watched
                .push(millis(begin, seen(&self.measured_events)?));
            measured
                .removed
                .push(millis(begin, self.poller.all_answer(false)?));
            std::thread::sleep(pause);
        }
        Ok(measured)
    }

    /// Sends so many puts, or deletes, at once, the measured one somewhere among
    /// them; answers when that one began. Nobody waits for their answers.
    fn burst(&mut self, in_flight: usize, put: bool) -> Instant {
        let place = self.random.random_range(0..in_flight);
        let mut begin = Instant::now();
        for number in 0..in_flight {
            let key = if number == place {
                begin = Instant::now();
                &self.measured
            } else {
                &self.crowd[number % self.crowd.len()]
            };
            let value = put.then(|| key.value.clone());
            self.send(key.key.clone(), value);
        }
        begin
    }

    fn burst_bare(&mut self, in_flight: usize) -> Instant {
        let place = self.random.random_range(0..in_flight);
        let mut begin = Instant::now();
        for number in 0..in_flight {
            let name = if number == place {
                begin = Instant::now();
                "measured".to_owned()
            } else {
                number.to_string()
            };
            self.send(format!("{BARE}{name}"), Some(self.measured.value.clone()));
        }
        begin
    }

    fn send(&self, key: String, value: Option<String>) {
        let mut client = self.client.kv_client();
        Handle::current().spawn(async move {
            match value {
                Some(value) => client.put(key, value, None).await.map(drop),
                None => client.delete(key, None).await.map(drop),
            }
        });
    }
}

fn seen(events: &Receiver<Instant>) -> Result<Instant> {
    events
        .recv_timeout(PATIENCE)
        .context("the watch did not see a change")
}

/// Notes when each change of a key comes in.
async fn watch(client: &Client, key: &str) -> Result<Receiver<Instant>> {
    let (sender, receiver) = channel();
    let options: Option<WatchOptions> = None;
    let mut stream = client.watch_client().watch(key, options).await?;
    tokio::spawn(async move {
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
