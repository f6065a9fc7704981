//! Revisions and backlogs that are too large for one script, and large entries
//! of the stream.

use std::fmt::Write as _;

use pointsman_model::{Change, Element};
use pointsman_publish::sink::{Claim, RebuildStep, Sink};
use pointsman_publish::{QueueLimits, Size};

use crate::bench::{Bench, SHOP, STREAM_BYTES};

/// So little in a batch that a few changes are too many.
fn narrow() -> QueueLimits {
    QueueLimits {
        revision: Size {
            changes: 5,
            bytes: 10_000,
        },
        ..QueueLimits::default()
    }
}

/// Names of instances: few hashes, so that all can be read at once.
fn instances(count: usize) -> Vec<(String, String)> {
    let all = (0..count).map(|i| {
        let key = format!("instances/app{}/i{i}", i % 50);
        (
            key,
            format!("10.{}.{}.{}:80", i >> 16, i >> 8 & 255, i & 255),
        )
    });
    all.collect()
}

fn commit(bench: &Bench, writes: &[(String, String)]) -> i64 {
    let writes = writes.iter().map(|(key, value)| (&**key, Some(&**value)));
    bench.store.commit(&writes.collect::<Vec<_>>())
}

fn delete(bench: &Bench, keys: &[(String, String)]) -> i64 {
    let writes = keys.iter().map(|(key, _)| (&**key, None));
    bench.store.commit(&writes.collect::<Vec<_>>())
}

/// How long each script took that took a millisecond or more, in milliseconds.
async fn long_scripts(bench: &mut Bench) -> Vec<i64> {
    let log: Vec<Vec<redis::Value>> = bench.ask(&["SLOWLOG", "GET", "-1"]).await;
    let micros = log.into_iter().filter_map(|entry| match entry.as_slice() {
        [
            _,
            _,
            redis::Value::Int(micros),
            redis::Value::Array(words),
            ..,
        ] => {
            let script = words[0] == redis::Value::BulkString(b"EVALSHA".to_vec());
            script.then_some(micros / 1_000)
        }
        other => panic!("{other:?}"),
    });
    let mut millis: Vec<_> = micros.collect();
    millis.sort_unstable_by(|a, b| b.cmp(a));
    millis
}

#[tokio::test]
async fn a_revision_of_200_000_changes_comes_in_pieces_and_is_not_listed() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("a");
    bench.all_ready().await;
    bench
        .command(&["CONFIG", "SET", "slowlog-log-slower-than", "1000"])
        .await;
    bench
        .command(&["CONFIG", "SET", "slowlog-max-len", "10000"])
        .await;
    let before = bench.listings();
    let all = instances(200_000);
    for written in [true, false] {
        bench.command(&["SLOWLOG", "RESET"]).await;
        let revision = if written {
            commit(&bench, &all)
        } else {
            delete(&bench, &all)
        };
        bench.says("it is applied", |s| s.applied >= revision).await;
        let long = long_scripts(&mut bench).await;
        println!("written: {written}; long scripts, in ms: {long:?}");
        // As one script it is 700 ms; a machine that others keep busy may stop
        // Redis in the middle of one.
        assert!(long.iter().all(|millis| *millis < 250), "{long:?}");
        bench.settled().await;
        let held = bench.content().await.len();
        assert_eq!(held, if written { 200_001 } else { 1 });
    }
    assert_eq!(bench.listings(), before);
    // Edges are told to look at everything once more, and no chain breaks.
    let stream = bench.stream().await;
    assert_eq!(stream.iter().filter(|e| e["kind"] == "reset").count(), 3);
    let bytes: usize = stream.iter().map(|e| e["changes"].len()).sum();
    assert!(bytes < 10_000, "{bytes} bytes of changes");
}

#[tokio::test]
async fn what_waited_while_redis_was_away_for_long_comes_without_a_listing() {
    let mut bench = Bench::start().await;
    bench.put("routes/gone.example", SHOP).await;
    let limits = QueueLimits {
        waiting: 20_000,
        ..QueueLimits::default()
    };
    bench.add_limited_agent("a", limits);
    bench.settled().await;
    let before = bench.listings();
    bench.pause_redis();
    bench.delete("routes/gone.example").await;
    let mut revision = 0;
    for i in 0..1_000 {
        bench.put(&format!("routes/h{i}.example"), SHOP).await;
        revision = bench.store.revision();
    }
    bench.says("all is seen", |s| s.seen >= revision).await;
    let waiting = bench.status().waiting;
    assert!(waiting <= 1_001, "{waiting} wait");
    bench.resume_redis();
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 1_000);
    assert_eq!(bench.listings(), before);
}

#[tokio::test]
async fn an_agent_that_dies_between_two_pieces_is_followed_by_another() {
    let mut bench = Bench::start().await;
    let hosts: Vec<_> = (0..30).map(|i| format!("routes/h{i}.example")).collect();
    let writes: Vec<_> = hosts.iter().map(|key| (key.as_str(), Some(SHOP))).collect();
    bench.store.commit(&writes);
    bench.add_limited_agent("a", narrow());
    bench.settled().await;
    let before = bench.listings();
    // Another agent has begun, written a piece, and died.
    let sink = bench.sink();
    bench.put("rebuild", "another").await;
    let token = bench.store.revision();
    bench.settled().await;
    let claim = Claim {
        epoch: bench.meta("epoch").await,
        replaces: None,
        token,
        revision: token,
        from: Some(token),
    };
    assert_eq!(sink.begin(&claim).await.unwrap(), RebuildStep::Done);
    let gone = Change {
        element: Element::Route("h0.example".into()),
        value: None,
    };
    assert_eq!(
        sink.piece(token, 0, &[gone]).await.unwrap(),
        RebuildStep::Done
    );
    // Most of the routes go, by events: nobody needs to confirm that.
    let deletions: Vec<_> = hosts[..25].iter().map(|key| (key.as_str(), None)).collect();
    bench.store.commit(&deletions);
    bench.settled().await;
    assert_eq!(bench.content().await.len(), 5);
    assert_eq!(bench.listings(), before);
    // What comes afterwards is sent as batches again.
    let revision = bench.store.revision();
    bench.put("routes/after.example", SHOP).await;
    bench.settled().await;
    let last = bench.stream().await.pop().unwrap();
    assert_eq!(last["kind"], "batch");
    assert!(last["from"].parse::<i64>().unwrap() >= revision, "{last:?}");
}

#[tokio::test]
async fn one_that_fails_over_between_two_pieces_is_brought_up_to_date() {
    let mut bench = Bench::start().await;
    let hosts: Vec<_> = (0..30).map(|i| format!("routes/h{i}.example")).collect();
    let writes: Vec<_> = hosts.iter().map(|key| (key.as_str(), Some(SHOP))).collect();
    bench.store.commit(&writes);
    bench.add_limited_agent("a", narrow());
    bench.settled().await;
    let rev = bench.meta("rev").await;
    let content = bench.content().await;
    let deletions: Vec<_> = hosts[..25].iter().map(|key| (key.as_str(), None)).collect();
    bench.store.commit(&deletions);
    bench.settled().await;
    let before = bench.listings();
    for _ in 0..3 {
        // The replica that takes over has heard of none of the pieces.
        bench.set_back(&rev, &content).await;
        bench.settled().await;
        assert_eq!(bench.content().await.len(), 5);
    }
    assert_eq!(bench.listings(), before);
}

#[tokio::test]
async fn large_entries_do_not_fill_redis() {
    let mut bench = Bench::start().await;
    bench.add_agent("a");
    bench.settled().await;
    let mut rule = String::from(r#"{"rules":[{"path":"/","to":[{"app":"shop"}]}"#);
    for i in 0..60 {
        let path = "x".repeat(900);
        write!(rule, r#",{{"path":"/{path}{i}","to":[{{"app":"shop"}}]}}"#).unwrap();
    }
    rule += "]}";
    let (mut sent, mut most) = (0, 0);
    while sent < 4 * STREAM_BYTES {
        sent += rule.len();
        bench.put("routes/large.example", &rule).await;
        let revision = bench.store.revision();
        bench.says("it is applied", |s| s.applied >= revision).await;
        let held: usize = bench.ask(&["MEMORY", "USAGE", "pointsman:changes"]).await;
        most = most.max(held);
    }
    println!("{sent} bytes were sent, and the stream had {most} at the most");
    assert!(most < STREAM_BYTES * 5 / 4, "the stream had {most} bytes");
    let stream = bench.stream().await;
    let kept: usize = stream.iter().map(|e| e["changes"].len()).sum();
    assert!(kept > STREAM_BYTES / 4, "only {kept} bytes are kept");
    // What is kept is whole.
    let ends = stream.iter().map(|e| e["id"].split_once('-').unwrap().0);
    let chain = stream[1..].iter().map(|e| e["from"].as_str()).zip(ends);
    for (from, to) in chain {
        assert_eq!(from, to);
    }
}
