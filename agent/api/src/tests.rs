//! The API with no socket, over the store in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode};
use pointsman_edges::EdgeFollower;
use pointsman_events::EventFollower;
use pointsman_memory::MemoryStore;
use pointsman_mirror::table::Table;
use pointsman_publish::SyncStatus;
use pointsman_store::{KeyValue, Revision};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;

mod apps;
mod docs;
mod draining;
mod edges;
mod errors;
mod events;
mod explain;
mod instances;
mod parsers;
mod pausing;
mod routes;
mod sets;
mod settings;
mod status;
mod tenants;

const PATIENCE: Duration = Duration::from_secs(3);

struct Api {
    store: MemoryStore,
    table: SharedTable,
    status: watch::Sender<SyncStatus>,
    reports: edges::Reports,
    /// To be run where a test is about edges.
    follower: Option<EdgeFollower>,
    /// To be run where a test is about events.
    event_follower: Option<EventFollower>,
    stop: CancellationToken,
    router: Router,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {:?}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }

    /// The revision of a write that went well.
    #[track_caller]
    fn revision(&self) -> Revision {
        assert_eq!(self.status, 200, "{}", self.text);
        let body = self.json();
        body["revision"].as_i64().unwrap()
    }

    /// Asserts a problem with all that belongs to it.
    #[track_caller]
    fn refused(&self, status: u16, code: &str) -> &Self {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let body = self.json();
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:pointsman:problem:{code}"));
        assert_eq!(body["request_id"], self.header("x-request-id"));
        for text in ["title", "detail", "request_id"] {
            assert!(
                body[text].as_str().is_some_and(|s| !s.is_empty()),
                "{text}: {body}"
            );
        }
        self
    }
}

impl Api {
    fn new() -> Self {
        Self::over(MemoryStore::new())
    }

    fn over(store: MemoryStore) -> Self {
        let shared: Arc<dyn Store> = Arc::new(store.clone());
        Self::with(store, shared)
    }

    /// `shared` is what the handlers see.
    fn with(store: MemoryStore, shared: Arc<dyn Store>) -> Self {
        let table = SharedTable::default();
        let (status, receiver) = watch::channel(SyncStatus::default());
        let reports = edges::Reports::default();
        let (follower, edges) = EdgeFollower::new(
            Arc::clone(&shared),
            Arc::new(reports.clone()),
            Arc::clone(&table),
        );
        let (event_follower, events) = EventFollower::new(Arc::clone(&shared));
        let stop = CancellationToken::new();
        let state = ApiState {
            store: signed(shared, "agent-1"),
            table: Arc::clone(&table),
            edges,
            events,
            readiness: Readiness::new(receiver, stop.clone()),
            metrics: Arc::new(Metrics::new(|_| ()).0),
            agent: "agent-1".to_owned(),
            hosts: HostNames::default(),
            body_limit: 1 << 20,
            patience: PATIENCE,
        };
        Self {
            store,
            table,
            status,
            reports,
            follower: Some(follower),
            event_follower: Some(event_follower),
            stop,
            router: router(Arc::new(state)),
        }
    }

    /// Brings the table to what the store holds, as the sync does.
    async fn sync(&self) {
        let page = self.store.list(b"", 0, None).await.unwrap();
        let mut table = Table::new();
        page.items.iter().for_each(|kv| table.load(kv));
        table.loaded(page.revision);
        *self.table.write().unwrap() = table;
    }

    async fn send(&self, mut request: Request<Body>) -> Answer {
        let host = HeaderValue::from_static("127.0.0.1:8081");
        request.headers_mut().entry("host").or_insert(host);
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: head.status,
            headers: head.headers,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body.to_owned().into()).unwrap())
            .await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.call("PUT", path, &[], body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "").await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], "").await
    }

    async fn stored(&self, key: &str) -> Option<KeyValue> {
        self.store.get(key).await.unwrap().0
    }

    async fn value(&self, key: &str) -> String {
        let kv = self
            .stored(key)
            .await
            .unwrap_or_else(|| panic!("{key} is not there"));
        String::from_utf8(kv.value).unwrap()
    }
}
