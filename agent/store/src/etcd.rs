//! etcd itself. Nothing but this module knows the etcd client.
//!
//! The client's defaults that would bite are set here: leader required,
//! keep-alive on, decode limits raised, tokens refreshed, and calls that never
//! left this machine (one endpoint of several is dead) tried again.

mod call;
mod options;
mod unanswered;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, CompareOp, ConnectOptions, EventType, GetOptions, LeaseGrantOptions,
    LeaseTimeToLiveOptions, PutOptions, Txn, TxnOp, TxnOpResponse, WatchOptions, WatchStream,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::call::{TRIES, call, classify, timed_out, with_lease};
pub use self::options::{EtcdOptions, EtcdTls};
use self::unanswered::Unanswered;
use self::watch::EtcdWatch;
use super::{
    Compare, Condition, Event, KeyValue, Lease, LeaseId, Op, Page, RecordedEvent, Revision, Store,
    StoreError, Watch, Written,
};

const CALL_TIMEOUT: Duration = Duration::from_secs(5);
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// etcd kills a connection that is pinged more often than every 5 s.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));
/// A read that has no answer by then is sent once more beside itself: the
/// client picks endpoints at random, also one that takes connections and stands
/// still.
const HEDGE: Duration = Duration::from_secs(1);
/// Above a page of 100,000 small values or a catch-up of a thousand revisions
/// of large ones; the client's own limit of 4 MiB fails both for ever.
const DECODE_LIMIT: usize = 1 << 30;
/// etcd's own limit on a request (`--max-request-bytes`) is about this.
const LARGE: usize = 1 << 20;

/// A registry in etcd: all keys under one prefix. Clones share a client.
#[derive(Clone)]
pub struct EtcdStore {
    options: EtcdOptions,
    /// Made at the first use: with authentication that needs an etcd that
    /// answers, and an agent must start without one.
    client: Arc<OnceCell<Client>>,
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("endpoints", &self.options.endpoints)
            .field("prefix", &self.options.prefix)
            .finish_non_exhaustive()
    }
}

impl EtcdStore {
    /// A registry; nothing is sent before the first call.
    pub fn new(options: EtcdOptions) -> Self {
        Self {
            options,
            client: Arc::default(),
        }
    }

    async fn client(&self) -> Result<&Client, StoreError> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Client, StoreError> {
        let mut connect = ConnectOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true)
            .with_auto_token_refresh(self.options.user.is_some());
        if let Some((name, password)) = &self.options.user {
            connect = connect.with_user(name, password);
        }
        if let Some(tls) = &self.options.tls {
            connect = connect.with_tls(tls.options());
        }
        let client = Client::connect(&self.options.endpoints, Some(connect));
        timeout(CALL_TIMEOUT, client)
            .await
            .map_err(timed_out)?
            .map_err(classify)
    }

    /// A call that may be sent several times at once, as it changes nothing. The
    /// first answer counts.
    async fn hedged<T, F>(
        &self,
        client: &Client,
        once: impl Fn() -> F + Copy,
    ) -> Result<T, StoreError>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let is_alone = self.options.endpoints.len() == 1;
        let mut more = if is_alone { 0 } else { TRIES - 1 };
        let mut sent = FuturesUnordered::new();
        sent.push(call(client, CALL_TIMEOUT, once));
        let first = async {
            loop {
                let answer = match timeout(HEDGE, sent.next()).await {
                    Ok(answer) => answer,
                    Err(_) if more > 0 => {
                        more -= 1;
                        sent.push(call(client, CALL_TIMEOUT, once));
                        continue;
                    }
                    Err(_) => sent.next().await,
                };
                match answer {
                    Some(Err(StoreError::Unavailable(_))) if !sent.is_empty() => {}
                    Some(answer) => return answer,
                    None => return Err(StoreError::Unavailable("nothing was sent".into())),
                }
            }
        };
        timeout(CALL_TIMEOUT, first).await.map_err(timed_out)?
    }

    fn full(&self, key: &str) -> Vec<u8> {
        format!("{}{key}", self.options.prefix).into_bytes()
    }

    /// The end of the prefix's range: the prefix with its last byte raised.
    fn range_end(&self) -> Vec<u8> {
        let mut end = self.options.prefix.clone().into_bytes();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return end;
            }
        }
        vec![0]
    }

    /// Takes key and value over as they are: a listing has millions of them.
    fn key_value(&self, kv: etcd_client::KeyValue) -> KeyValue {
        let (create_revision, mod_revision) = (kv.create_revision(), kv.mod_revision());
        let lease = kv.lease();
        let (key, value) = kv.into_key_value();
        KeyValue {
            key: self.without_prefix(key),
            value,
            create_revision,
            mod_revision,
            lease,
        }
    }

    /// The key that a look-up of one key found.
    fn only(&self, found: Vec<etcd_client::KeyValue>) -> Option<KeyValue> {
        found.into_iter().next().map(|kv| self.key_value(kv))
    }

    fn without_prefix(&self, mut key: Vec<u8>) -> String {
        key.drain(..self.options.prefix.len().min(key.len()));
        String::from_utf8(key)
            .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
    }

    fn event(&self, event: &etcd_client::Event) -> Option<Event> {
        let kv = event.kv()?.clone();
        Some(match event.event_type() {
            EventType::Put => Event::Put(self.key_value(kv)),
            EventType::Delete => Event::Delete {
                mod_revision: kv.mod_revision(),
                key: self.without_prefix(kv.into_key_value().0),
            },
        })
    }

    fn recorded(&self, event: &etcd_client::Event) -> Option<RecordedEvent> {
        Some(RecordedEvent {
            event: self.event(event)?,
            before: event.prev_kv().map(|kv| self.key_value(kv.clone())),
        })
    }

    /// Opens a watch of all keys.
    async fn open(&self, options: WatchOptions) -> Result<WatchStream, StoreError> {
        let options = options.with_range(self.range_end());
        let client = self.client().await?;
        let open = || {
            let mut client = client
                .watch_client()
                .max_decoding_message_size(DECODE_LIMIT);
            let (key, options) = (self.full(""), options.clone());
            async move { client.watch(key, Some(options)).await }
        };
        self.hedged(client, &open).await
    }

    /// etcd has one code for both ends of its history; tells them apart.
    async fn either_end<T>(
        &self,
        answer: Result<T, StoreError>,
        at: Revision,
    ) -> Result<T, StoreError> {
        if let Err(StoreError::Compacted { .. }) = answer {
            let (_, now) = self.get("epoch").await?;
            if at > now {
                return Err(StoreError::FutureRevision { asked: at });
            }
        }
        answer
    }

    fn compare(&self, compare: &Compare) -> Option<etcd_client::Compare> {
        let key = self.full(&compare.key);
        let version = |key, op| Some(etcd_client::Compare::version(key, op, 0));
        match compare.condition {
            Condition::Always => None,
            Condition::Absent => version(key, CompareOp::Equal),
            Condition::Present => version(key, CompareOp::Greater),
            Condition::ModRevision(revision) => Some(etcd_client::Compare::mod_revision(
                key,
                CompareOp::Equal,
                revision,
            )),
        }
    }

    fn op(&self, op: &Op) -> TxnOp {
        match op {
            Op::Put { key, value, lease } => {
                let options = (*lease != 0).then(|| PutOptions::new().with_lease(*lease));
                TxnOp::put(self.full(key), value.clone(), options)
            }
            Op::Delete { key } => TxnOp::delete(self.full(key), None),
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn list(
        &self,
        from: &[u8],
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let mut options = GetOptions::new()
            .with_range(self.range_end())
            .with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
        if let Some(at) = at {
            options = options.with_revision(at);
        }
        let client = self.client().await?;
        let answer = call(client, LIST_TIMEOUT, || {
            let mut kv = client.kv_client().max_decoding_message_size(DECODE_LIMIT);
            let key = [self.options.prefix.as_bytes(), from].concat();
            let options = options.clone();
            async move { kv.get(key, Some(options)).await }
        })
        .await;
        let mut answer = match at {
            Some(at) => self.either_end(answer, at).await?,
            None => answer?,
        };
        let header = answer.header().map_or(0, |header| header.revision());
        let (found, more) = (answer.take_kvs(), answer.more());
        let last = found.last().filter(|_| more).map(|kv| kv.key());
        // The successor of a key in byte order.
        let next =
            last.map(|key| [&key[self.options.prefix.len().min(key.len())..], b"\0"].concat());
        Ok(Page {
            items: found.into_iter().map(|kv| self.key_value(kv)).collect(),
            revision: at.unwrap_or(header),
            next,
        })
    }

    async fn keys(
        &self,
        from: &str,
        to: &str,
    ) -> Result<(Vec<(String, Revision)>, Revision), StoreError> {
        let options = GetOptions::new().with_range(self.full(to)).with_keys_only();
        let client = self.client().await?;
        let mut answer = call(client, LIST_TIMEOUT, || {
            let mut kv = client.kv_client().max_decoding_message_size(DECODE_LIMIT);
            let (key, options) = (self.full(from), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await?;
        let found = answer.take_kvs().into_iter();
        let rows = found
            .map(|kv| {
                let revision = kv.mod_revision();
                (self.without_prefix(kv.into_key_value().0), revision)
            })
            .collect();
        Ok((rows, answer.header().map_or(0, |header| header.revision())))
    }

    async fn get_at(&self, key: &str, at: Revision) -> Result<Option<KeyValue>, StoreError> {
        let options = GetOptions::new().with_revision(at);
        let client = self.client().await?;
        let answer = call(client, CALL_TIMEOUT, || {
            let (mut kv, key, options) = (client.kv_client(), self.full(key), options.clone());
            async move { kv.get(key, Some(options)).await }
        })
        .await;
        let mut answer = self.either_end(answer, at).await?;
        Ok(self.only(answer.take_kvs()))
    }

    async fn get(&self, key: &str) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let client = self.client().await?;
        let get = || {
            let (mut kv, key) = (client.kv_client(), self.full(key));
            async move { kv.get(key, None).await }
        };
        let mut answer = self.hedged(client, &get).await?;
        let revision = answer.header().map_or(0, |header| header.revision());
        Ok((self.only(answer.take_kvs()), revision))
    }

    async fn watch(&self, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let options = WatchOptions::new().with_start_revision(from);
        Ok(Box::new(EtcdWatch {
            stream: self.open(options).await?,
            store: self.clone(),
            read: Self::event,
        }))
    }

    async fn history(&self, from: Revision) -> Result<Box<dyn Watch<RecordedEvent>>, StoreError> {
        let options = WatchOptions::new().with_start_revision(from);
        Ok(Box::new(EtcdWatch {
            stream: self.open(options.with_prev_key()).await?,
            store: self.clone(),
            read: Self::recorded,
        }))
    }

    async fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<Written, StoreError> {
        let conditions = compares.iter().filter_map(|compare| self.compare(compare));
        let looks = compares
            .iter()
            .map(|compare| TxnOp::get(self.full(&compare.key), None));
        let txn = Txn::new()
            .when(conditions.collect::<Vec<_>>())
            .and_then(ops.iter().map(|op| self.op(op)).collect::<Vec<_>>())
            .or_else(looks.collect::<Vec<_>>());
        let client = self.client().await?;
        let answer = call(client, CALL_TIMEOUT, || {
            let (mut kv, txn) = (client.kv_client(), txn.clone());
            async move { kv.txn(txn).await }
        })
        .await
        .map_err(|error| refused(error, ops))?;
        if answer.succeeded() {
            let revision = answer.header().map_or(0, |header| header.revision());
            return Ok(Written::Done(revision));
        }
        let found = answer.op_responses().into_iter().map(|op| match op {
            TxnOpResponse::Get(mut get) => self.only(get.take_kvs()),
            _ => None,
        });
        let failed = compares
            .iter()
            .zip(found)
            .find(|(compare, now)| !compare.condition.holds(now.as_ref()));
        Ok(Written::Conflict(failed.and_then(|(_, now)| now)))
    }

    async fn lease_grant(&self, ttl: u64) -> Result<LeaseId, StoreError> {
        let ttl = i64::try_from(ttl).unwrap_or(i64::MAX);
        let client = self.client().await?;
        // Named by us: one whose grant is not answered can be revoked.
        let lease = rand::random_range(1..=i64::MAX);
        let options = LeaseGrantOptions::new().with_id(lease);
        let unanswered = Unanswered {
            client: client.clone(),
            lease: Some(lease),
        };
        let answer = call(client, CALL_TIMEOUT, || {
            let (mut lease, options) = (client.lease_client(), options.clone());
            async move { lease.grant(ttl, Some(options)).await }
        })
        .await?;
        unanswered.keep();
        Ok(answer.id())
    }

    async fn lease_renew(&self, lease: LeaseId) -> Result<(), StoreError> {
        let client = self.client().await?;
        // Opening the stream renews the lease, and waits for the answer.
        call(client, CALL_TIMEOUT, || {
            let mut client = client.lease_client();
            async move { client.keep_alive(lease).await }
        })
        .await
        .map(drop)
        .map_err(|error| with_lease(error, lease))
    }

    async fn lease(&self, lease: LeaseId) -> Result<Lease, StoreError> {
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let client = self.client().await?;
        let answer = call(client, CALL_TIMEOUT, || {
            let (mut client, options) = (client.lease_client(), options.clone());
            async move { client.time_to_live(lease, Some(options)).await }
        })
        .await
        .map_err(|error| with_lease(error, lease))?;
        // One that is not there has a time to live of -1.
        if answer.ttl() < 0 {
            return Err(StoreError::NoLease(lease));
        }
        Ok(Lease {
            ttl: u64::try_from(answer.granted_ttl()).unwrap_or(0),
            left: u64::try_from(answer.ttl()).unwrap_or(0),
            keys: answer.keys().len(),
        })
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let client = self.client().await?;
        call(client, CALL_TIMEOUT, || {
            let mut lease_client = client.lease_client();
            async move { lease_client.revoke(lease).await }
        })
        .await
        .map(|_| ())
        .map_err(|error| with_lease(error, lease))
    }
}

/// The error of a transaction, by what it was to write.
fn refused(error: StoreError, ops: &[Op]) -> StoreError {
    let puts = ops.iter().filter_map(|op| match op {
        Op::Put { value, lease, .. } => Some((value.len(), *lease)),
        Op::Delete { .. } => None,
    });
    let (size, lease) = puts.fold((0, 0), |(size, one), (len, lease)| {
        (size + len, if one == 0 { lease } else { one })
    });
    match error {
        StoreError::Other(source) if size > LARGE => StoreError::TooLarge(source),
        other => with_lease(other, lease),
    }
}
