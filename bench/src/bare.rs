//! What etcd and Redis can do by themselves: the floors that the agent is
//! compared with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, GetOptions, KeyValue};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::redis_facts;

/// A key outside the registry: no agent looks at it.
const KEY: &str = "/bare/key";
const PREFIX: &str = "/pointsman/";
const END: &str = "/pointsman0";
const PAGE: i64 = 100_000;
const PIPELINE: usize = 500;
const DECODE_LIMIT: usize = 1 << 30;

/// Puts a key again and again, and notes how long each put takes until a watch
/// shows it.
pub struct PutWatch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Result<Vec<f64>>>,
}

impl PutWatch {
    /// Begins, with so much time between two puts.
    pub async fn start(etcd_url: &str, spacing: Duration) -> Result<Self> {
        let client = Client::connect([etcd_url], None).await?;
        let mut stream = client.watch_client().watch(KEY, None).await?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(async move {
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let mut kv = client.kv_client();
                let put = tokio::spawn(async move { kv.put(KEY, "x", None).await });
                loop {
                    let message = stream.message().await?.context("the watch ended")?;
                    if !message.events().is_empty() {
                        break;
                    }
                }
                times.push(begin.elapsed().as_secs_f64() * 1e3);
                put.await??;
                sleep(spacing).await;
            }
            Ok(times)
        });
        Ok(Self { stop, task })
    }

    /// Ends; answers all times in milliseconds.
    pub async fn finish(self) -> Result<Vec<f64>> {
        self.stop.store(true, Ordering::Relaxed);
        let times = self.task.await??;
        ensure!(!times.is_empty(), "not one put was watched");
        Ok(times)
    }
}

/// How long a bare copy took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copied {
    /// Records.
    pub records: usize,
    /// Listing etcd, in seconds.
    pub list: f64,
    /// Writing to Redis, in seconds.
    pub write: f64,
}

/// Copies the registry from etcd to Redis, as the records that an agent would
/// write: a page of etcd is listed, then written by pipelines of plain SET and
/// HSET, then the next one.
pub async fn copy(etcd_url: &str, redis_url: &str) -> Result<Copied> {
    let client = Client::connect([etcd_url], None).await?;
    let mut kv = client.kv_client().max_decoding_message_size(DECODE_LIMIT);
    let mut connection = redis_facts::connect(redis_url).await?;
    let mut copied = Copied::default();
    let (mut from, mut revision) = (PREFIX.as_bytes().to_vec(), 0);
    loop {
        let begin = Instant::now();
        let options = GetOptions::new()
            .with_range(END)
            .with_limit(PAGE)
            .with_revision(revision);
        let page = kv.get(from, Some(options)).await?;
        copied.list += begin.elapsed().as_secs_f64();
        revision = match revision {
            0 => page.header().context("no header")?.revision(),
            pinned => pinned,
        };

        let begin = Instant::now();
        for chunk in page.kvs().chunks(PIPELINE) {
            let mut pipeline = redis::pipe();
            for kv in chunk {
                copied.records += usize::from(record(kv, &mut pipeline)?);
            }
            if !pipeline.is_empty() {
                pipeline.exec_async(&mut connection).await?;
            }
        }
        copied.write += begin.elapsed().as_secs_f64();
        match page.kvs().last() {
            Some(last) if page.more() => {
                from = last.key().to_vec();
                from.push(0);
            }
            _ => return Ok(copied),
        }
    }
}

/// Adds the command that writes a key's record, if it has one.
fn record(kv: &KeyValue, pipeline: &mut redis::Pipeline) -> Result<bool> {
    let (key, value) = (kv.key_str()?, kv.value_str()?);
    let (key, rev) = (key.trim_start_matches(PREFIX), kv.mod_revision());
    if let Some(host) = key.strip_prefix("routes/") {
        let app = value.strip_prefix(r#"{"app":""#).context("another route")?;
        let app = app.trim_end_matches(r#""}"#);
        let record =
            format!(r#"{{"rev":"{rev}","rules":[{{"path":"/","to":[{{"app":"{app}"}}]}}]}}"#);
        pipeline.set(format!("pointsman:route:{host}"), record);
    } else if let Some(name) = key.strip_prefix("instances/") {
        let (app, id) = name.split_once('/').context("another instance")?;
        let record = format!(r#"["{rev}","{value}",100]"#);
        pipeline.hset(format!("pointsman:inst:{app}"), id, record);
    } else {
        return Ok(false);
    }
    pipeline.ignore();
    Ok(true)
}
