//! `/v1/edges`, `/v1/wait`, waits of writes, and drains.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use pointsman_edges::source::{Announcement, Announcements, Hashes, ReportSource, SourceError};
use tokio::sync::broadcast;

use super::*;

type Fields = Vec<(String, String)>;

/// What edges have written to Redis.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    hashes: Arc<Mutex<BTreeMap<String, Fields>>>,
    channel: broadcast::Sender<Announcement>,
    status_url: Arc<Mutex<String>>,
}

impl Default for Reports {
    fn default() -> Self {
        let (channel, _) = broadcast::channel(1000);
        let url = "http://10.0.0.1:8082/pointsman/status";
        Self {
            hashes: Arc::default(),
            channel,
            status_url: Arc::new(Mutex::new(url.to_owned())),
        }
    }
}

impl Reports {
    fn report(&self, edge: &str, applied: Revision, draining: &str) {
        self.report_of("e", edge, applied, draining);
    }

    /// An edge that follows this registry reports.
    pub(super) fn report_of(&self, epoch: &str, edge: &str, applied: Revision, draining: &str) {
        let mut hashes = self.hashes.lock().unwrap();
        let seq = hashes.get(edge).map_or(1, |fields| {
            let seq = fields.iter().find(|(field, _)| field == "seq").unwrap();
            seq.1.parse::<u64>().unwrap() + 1
        });
        let fields = [
            ("epoch", epoch.to_owned()),
            ("applied", applied.to_string()),
            ("version", "0.1.0".to_owned()),
            ("started", "1700000000".to_owned()),
            ("workers", "2".to_owned()),
            ("status", self.status_url.lock().unwrap().clone()),
            ("draining", draining.to_owned()),
            ("seq", seq.to_string()),
        ];
        let fields = fields.map(|(field, value)| (field.to_owned(), value));
        hashes.insert(edge.to_owned(), fields.to_vec());
        // Nobody may listen yet.
        self.channel
            .send(Announcement::Report(edge.to_owned()))
            .ok();
    }

    /// Reports from now on say that this is where the status listener is.
    pub(super) fn status_url(&self, url: &str) {
        url.clone_into(&mut self.status_url.lock().unwrap());
    }

    fn expire(&self, edge: &str) {
        self.hashes.lock().unwrap().remove(edge);
        self.channel
            .send(Announcement::Report(edge.to_owned()))
            .unwrap();
    }
}

#[async_trait]
impl ReportSource for Reports {
    async fn read(&self, names: &[String]) -> Result<Hashes, SourceError> {
        let hashes = self.hashes.lock().unwrap();
        Ok(names.iter().map(|name| hashes.get(name).cloned()).collect())
    }

    async fn announcements(&self) -> Result<Box<dyn Announcements>, SourceError> {
        Ok(Box::new(Channel(self.channel.subscribe())))
    }
}

struct Channel(broadcast::Receiver<Announcement>);

#[async_trait]
impl Announcements for Channel {
    async fn next(&mut self) -> Vec<Announcement> {
        self.0.recv().await.into_iter().collect()
    }
}

/// An API whose agent follows edges; the registry has the epoch `e` and an
/// instance.
async fn api() -> Api {
    let mut api = Api::new();
    let follower = api.follower.take().unwrap();
    tokio::spawn(follower.run(CancellationToken::new()));
    let always = pointsman_store::Condition::Always;
    api.store.put("epoch", b"e", 0, always).await.unwrap();
    api.put("/v1/apps/shop/instances/1", r#"{"addr":"10.0.0.1:80"}"#)
        .await
        .revision();
    api.sync().await;
    api.status.send_modify(|status| status.applied = 1_000);
    api.settle().await;
    api
}

impl Api {
    /// Waits until all reports are read.
    pub(super) async fn settle(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if self.get("/v1/edges").await.status == 200 {
                return;
            }
        }
    }

    /// Waits until the API shows this state of an edge.
    async fn shows(&self, edge: &str, state: &str) {
        loop {
            let list = self.get("/v1/edges").await.json();
            let edges = list["edges"].as_array().unwrap();
            let found = edges.iter().find(|item| item["edge"] == edge);
            if found.is_some_and(|item| item["state"] == state) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.sync().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn edges_are_not_known_before_their_reports_are_read() {
    let api = Api::new();
    api.get("/v1/edges").await.refused(503, "not_ready");
    let late = api.get("/v1/wait?revision=1&timeout=100ms").await;
    late.refused(504, "not_live");
    assert!(late.json()["detail"].as_str().unwrap().contains("redis"));
}

#[tokio::test(start_paused = true)]
async fn each_edge_is_listed_with_its_report() {
    let api = api().await;
    api.reports.report("a", 100, r#"{"shop/1":3}"#);
    api.shows("a", "live").await;
    let list = api.get("/v1/edges").await.json();
    assert_eq!(
        list["edges"],
        json!([{
            "edge": "a", "state": "live", "behind": 0,
            "report": {
                "epoch": "e", "applied": 100, "version": "0.1.0",
                "started": "2023-11-14T22:13:20Z", "workers": 2,
                "status_url": "http://10.0.0.1:8082/pointsman/status", "reads_replica": false,
                "draining": {"shop/1": 3},
            },
        }])
    );
    api.reports.expire("a");
    api.shows("a", "missing").await;
    let list = api.get("/v1/edges").await.json();
    assert!(list["edges"][0]["since"].is_string(), "{list}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_every_edge_has_the_revision() {
    let api = api().await;
    api.reports.report("a", 10, "{}");
    api.reports.report("b", 8, "{}");
    api.shows("b", "live").await;
    let (answer, ()) = tokio::join!(api.get("/v1/wait?revision=10"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.reports.report("b", 10, "{}");
    });
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json(), json!({"revision": 10, "edges": ["a", "b"]}));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_is_over_names_the_edges_that_lack_it() {
    let api = api().await;
    for (edge, applied) in [("a", 10), ("b", 8), ("c", 10)] {
        api.reports.report(edge, applied, "{}");
        api.shows(edge, "live").await;
    }
    api.reports.expire("c");
    api.shows("c", "missing").await;
    let late = api.get("/v1/wait?revision=10&timeout=2s").await;
    let body = late.refused(504, "not_live").json();
    assert_eq!(body["revision"], 10);
    assert_eq!(body["lacking"][0]["edge"], "b");
    assert_eq!(body["lacking"][0]["why"], "behind");
    assert_eq!(body["lacking"][0]["applied"], 8);
    assert_eq!(body["lacking"][1]["why"], "missing");
    assert!(body["lacking"][1]["since"].is_string(), "{body}");
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("b is at revision 8"), "{detail}");
    assert!(detail.contains("c has been missing since"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn without_an_edge_redis_must_have_the_revision() {
    let api = api().await;
    let answer = api.get("/v1/wait?revision=1000").await;
    assert_eq!(answer.json(), json!({"revision": 1000, "edges": []}));
    let late = api.get("/v1/wait?revision=1001&timeout=1s").await;
    late.refused(504, "not_live");
    let (answer, ()) = tokio::join!(api.get("/v1/wait?revision=1001"), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.status.send_modify(|status| status.applied = 1001);
    });
    assert_eq!(answer.status, 200);
}

#[tokio::test(start_paused = true)]
async fn a_bad_query_is_refused_before_anything_is_written() {
    let api = api().await;
    for path in [
        "/v1/wait",
        "/v1/wait?revision=0",
        "/v1/wait?revision=x",
        "/v1/wait?revision=1&timeout=11m",
        "/v1/wait?revision=1&timeout=soon",
        "/v1/wait?revision=1&time=1s",
        "/v1/routes/a.test?wait=1s",
    ] {
        api.get(path).await.refused(400, "bad_query");
    }
    for query in [
        "wait=soon",
        "wait=-1s",
        "wait=1h",
        "waits=1s",
        "wait=1s&wait=1s",
    ] {
        let path = format!("/v1/routes/a.test?{query}");
        let refused = api.put(&path, r#"{"app":"shop"}"#).await;
        refused.refused(400, "bad_query");
    }
    assert!(api.stored("routes/a.test").await.is_none());
    let drain = "/v1/apps/shop/instances/1/drain?wait=1s";
    let refused = api.call("POST", drain, &[], "").await;
    refused.refused(400, "bad_query");
    assert!(api.stored("overrides/shop/1").await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_write_may_wait_until_it_is_live() {
    let api = api().await;
    api.reports.report("a", 1, "{}");
    api.shows("a", "live").await;
    let path = "/v1/routes/a.test?wait=5s";
    let late = api.put(path, r#"{"app":"shop"}"#).await;
    let body = late.refused(504, "not_live").json();
    let kv = api.stored("routes/a.test").await.unwrap();
    assert_eq!(body["revision"], kv.mod_revision, "it is written");

    let (answer, ()) = tokio::join!(api.put(path, r#"{"app":"shop"}"#), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.reports.report("a", 1_000, "{}");
    });
    let revision = answer.revision();
    assert!(revision > kv.mod_revision);
    let answer = api.delete(path).await;
    assert!(answer.revision() > revision);
    // What was refused is not waited for.
    let begun = tokio::time::Instant::now();
    api.delete(path).await.refused(404, "not_found");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

const DRAIN: &str = "/v1/apps/shop/instances/1/drain";

#[tokio::test(start_paused = true)]
async fn a_drain_is_confirmed_when_nothing_is_in_flight_anywhere() {
    let api = api().await;
    for edge in ["a", "b"] {
        api.reports.report(edge, 1, "{}");
        api.shows(edge, "live").await;
    }
    let drain = api.call("POST", DRAIN, &[], "");
    let (answer, ()) = tokio::join!(drain, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(api.stored("overrides/shop/1").await.is_some());
        api.sync().await;
        api.reports.report("a", 500, r#"{"shop/1":0}"#);
        api.reports.report("b", 500, r#"{"shop/1":2}"#);
        tokio::time::sleep(Duration::from_secs(20)).await;
        api.reports.report("b", 500, r#"{"shop/1":0}"#);
    });
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert_eq!(body["edges"], json!(["a", "b"]));
    let kv = api.stored("overrides/shop/1").await.unwrap();
    assert_eq!(body["revision"], kv.mod_revision);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_says_what_is_left_and_goes_on() {
    let api = api().await;
    for (edge, draining) in [("a", r#"{"shop/1":2}"#), ("b", "{}")] {
        api.reports.report(edge, 1_000, draining);
        api.shows(edge, "live").await;
    }
    let path = format!("{DRAIN}?timeout=3s");
    let (late, ()) = tokio::join!(api.call("POST", &path, &[], ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.sync().await;
    });
    let body = late.refused(504, "not_drained").json();
    assert_eq!(
        body["lacking"],
        json!([{"edge": "a", "why": "in_flight", "in_flight": 2}])
    );
    assert!(api.stored("overrides/shop/1").await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_drain_of_what_is_not_routed_to_confirms_nothing() {
    let api = api().await;
    let none = "/v1/apps/shop/instances/2/drain";
    api.call("POST", none, &[], "")
        .await
        .refused(404, "not_found");
    let (answer, ()) = tokio::join!(api.call("POST", DRAIN, &[], ""), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        api.delete("/v1/apps/shop/instances/1").await.revision();
        api.sync().await;
        api.reports.report("a", 1_000, "{}");
    });
    let body = answer.refused(409, "not_routed").json();
    let detail = body["detail"].as_str().unwrap();
    assert!(detail.contains("deregistered"), "{detail}");
}

#[tokio::test(start_paused = true)]
async fn an_edge_that_is_gone_for_good_is_forgotten() {
    let api = api().await;
    api.reports.report("a", 1_000, "{}");
    api.shows("a", "live").await;
    api.delete("/v1/edges/a").await.refused(409, "edge_reports");
    api.delete("/v1/edges/b").await.refused(404, "not_found");
    api.reports.expire("a");
    api.shows("a", "missing").await;
    api.delete("/v1/edges/a").await.revision();
    api.sync().await;
    while api.get("/v1/edges").await.json()["edges"] != json!([]) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
