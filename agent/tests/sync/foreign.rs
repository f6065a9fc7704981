//! What others left in Redis under our prefix, down to bytes that are no text.

use pointsman_model::Element;

use crate::bench::{Bench, SHOP};

async fn spoil(bench: &mut Bench) {
    let words: [&[&[u8]]; 4] = [
        &[b"SET", b"pointsman:route:\xff.example", b"x"],
        &[b"SET", b"pointsman:app:\xfe", b"\xff"],
        &[b"HSET", b"pointsman:inst:\xc0", b"1", b"x"],
        &[b"HSET", b"pointsman:inst:shop", b"\xff", b"x"],
    ];
    for words in words {
        let _: redis::Value = bench.ask(words).await;
    }
}

#[tokio::test]
async fn names_that_are_no_text_hold_up_neither_a_rebuild_nor_the_reconciler() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    spoil(&mut bench).await;
    let stray: &[&[u8]] = &[b"SET", b"pointsman:route:stray.example", b"\xff"];
    let _: redis::Value = bench.ask(stray).await;
    bench.add_reconciling_agent("a");
    bench.settled_after("a rebuild").await;
    // What can be named is removed; what no edge asks for stays.
    let foreign: bool = bench.ask(&[&b"EXISTS"[..], b"pointsman:app:\xfe"]).await;
    assert!(foreign);
    let _: redis::Value = bench.ask(stray).await;
    bench.settled_after("a stray").await;
}

#[tokio::test]
async fn values_that_are_no_text_are_put_right() {
    let mut bench = Bench::start().await;
    bench.put("routes/a.example", SHOP).await;
    bench.put("instances/shop/1", "10.0.0.1:80").await;
    bench.add_reconciling_agent("a");
    bench.settled().await;
    let good = bench.content().await;
    assert!(good.contains_key(&Element::Route("a.example".into())));
    let words: [&[&[u8]]; 3] = [
        &[b"SET", b"pointsman:route:a.example", b"\xff"],
        &[b"HSET", b"pointsman:inst:shop", b"1", b"[\xff]"],
        &[b"HSET", b"pointsman:meta", b"epoch", b"\xff"],
    ];
    for words in &words[..2] {
        let _: redis::Value = bench.ask(words).await;
        bench.settled_after(&format!("{words:?}")).await;
        assert_eq!(bench.content().await, good);
    }
    // A registry of such a name is not ours.
    let _: redis::Value = bench.ask(words[2]).await;
    bench.phase(pointsman_publish::Phase::Holding).await;
}
