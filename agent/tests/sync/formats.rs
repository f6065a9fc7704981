//! Agents of several versions beside one another.

use pointsman_publish::Phase;
use pointsman_publish::sink::FORMAT;

use crate::bench::{Bench, SHOP};

#[tokio::test]
async fn an_agent_of_an_older_format_is_passive_and_one_of_a_newer_rebuilds() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.add_agent("old");
    bench.settled().await;
    let newer = FORMAT + 1;
    bench.add_agent_of_format("new", newer);
    bench.meta_becomes("format", &newer.to_string()).await;
    bench.phase(Phase::Holding).await;
    let reason = bench.status().hold_reason.unwrap();
    assert!(reason.contains("passive until it is upgraded"), "{reason}");
    bench.put("routes/b.example", SHOP).await;
    bench.settled().await;
    assert_eq!(bench.meta("format").await, newer.to_string());
}

#[tokio::test]
async fn no_write_is_lost_while_agents_of_two_formats_are_exchanged() {
    let mut bench = Bench::start().await;
    let newer = FORMAT + 1;
    let mut written = 0;
    bench.add_agent("old");
    bench.settled().await;
    bench.add_agent_of_format("new", newer);
    while bench.meta_if_there("format").await != Some(newer.to_string()) {
        written += 1;
        bench.put(&format!("routes/h{written}.example"), SHOP).await;
    }
    bench.phase(Phase::Holding).await;
    bench.settled_after("the newer one came").await;

    // Back to the older version alone: it does not touch what it may not
    // understand.
    bench.stop_agents().await;
    let before = bench.content().await;
    bench.add_agent("old");
    bench.phase(Phase::Holding).await;
    bench.put("routes/meanwhile.example", SHOP).await;
    bench.delete("routes/h1.example").await;
    bench.agent_looks(2).await;
    assert_eq!(bench.content().await, before);
    bench.add_agent_of_format("new", newer);
    bench.settled_after("the newer one was back").await;
    assert_eq!(bench.meta("format").await, newer.to_string());

    // An operator who wants the older version removes what says the format.
    bench.stop_agents().await;
    bench.command(&["DEL", "pointsman:meta"]).await;
    bench.put("routes/older.example", SHOP).await;
    bench.add_agent("old");
    bench
        .settled_after("the older one had to fill redis again")
        .await;
    assert_eq!(bench.meta("format").await, FORMAT.to_string());
}
