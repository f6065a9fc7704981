//! The pieces of a rebuild, as Redis takes them.

use pointsman_model::{Change, Element};
use pointsman_publish::sink::{Claim, RebuildStep, Sink};

use crate::bench::Bench;

fn change(element: Element, value: Option<&str>) -> Change {
    Change {
        element,
        value: value.map(Box::from),
    }
}

#[tokio::test]
async fn a_piece_may_come_once_more_behind_later_ones_but_not_before_its_turn() {
    let mut bench = Bench::start().await;
    let of_a_wrong_type = ["SET", "pointsman:inst:shop", "x"];
    bench.command(&of_a_wrong_type).await;
    let sink = bench.sink();
    let claim = Claim {
        epoch: "e".to_owned(),
        replaces: None,
        token: 5,
        revision: 9,
        from: None,
    };
    assert_eq!(sink.begin(&claim).await.unwrap(), RebuildStep::Done);

    let route = |host: &str| Element::Route(host.into());
    let instance = |id: &str| Element::Instance("shop".into(), id.into());
    let first = [
        change(route("a.example"), Some("1")),
        change(route("b.example"), Some("2")),
        change(instance("1"), Some("3")),
        change(instance("2"), Some("4")),
    ];
    let second = [
        change(route("a.example"), None),
        change(instance("1"), None),
        change(route("b.example"), Some("5")),
    ];
    let early = sink.piece(5, 1, &second).await.unwrap();
    assert!(matches!(early, RebuildStep::Refused(_)), "{early:?}");
    for (n, piece) in [(0, &first[..]), (1, &second), (0, &first), (1, &second)] {
        let step = sink.piece(5, n, piece).await.unwrap();
        assert_eq!(step, RebuildStep::Done, "piece {n}");
    }
    let other_claim = sink.piece(6, 2, &first).await.unwrap();
    assert!(
        matches!(other_claim, RebuildStep::Refused(_)),
        "{other_claim:?}"
    );

    let elements: Vec<_> = first.into_iter().map(|change| change.element).collect();
    let held = sink.read(&elements).await.unwrap().values;
    let held: Vec<_> = held.iter().map(Option::as_deref).collect();
    assert_eq!(held, [None, Some("5"), None, Some("4")]);
    assert_eq!(sink.end(5, 2, 9).await.unwrap(), RebuildStep::Done);
}

#[tokio::test]
async fn only_a_whole_table_that_is_not_behind_takes_just_what_changed() {
    let mut bench = Bench::start().await;
    let sink = bench.sink();
    let claim = |token, from| Claim {
        epoch: "e".to_owned(),
        replaces: None,
        token,
        revision: 20,
        from,
    };
    let refused = |step: RebuildStep| match step {
        RebuildStep::Refused(why) => why,
        RebuildStep::Done => panic!("it was accepted"),
    };
    // There is no table; then it is half built; then it is older.
    let why = refused(sink.begin(&claim(5, Some(0))).await.unwrap());
    assert!(why.contains("does not hold all"), "{why}");
    assert_eq!(
        sink.begin(&claim(5, None)).await.unwrap(),
        RebuildStep::Done
    );
    refused(sink.begin(&claim(6, Some(0))).await.unwrap());
    let first = [change(Element::Route("a.example".into()), Some("1"))];
    assert_eq!(sink.piece(5, 0, &first).await.unwrap(), RebuildStep::Done);
    assert_eq!(sink.end(5, 1, 9).await.unwrap(), RebuildStep::Done);
    let why = refused(sink.begin(&claim(7, Some(10))).await.unwrap());
    assert!(why.contains("up to revision 10"), "{why}");
    // An agent of another format does not know what the rest is.
    let older = bench.sink().with_format(1);
    refused(older.begin(&claim(7, Some(9))).await.unwrap());

    for again in [false, true] {
        let step = sink.begin(&claim(7, Some(9))).await.unwrap();
        assert_eq!(step, RebuildStep::Done, "again: {again}");
    }
    assert_eq!(bench.meta("state").await, "building");
    assert_eq!(bench.meta("rev").await, "9");
    // A hash cannot be put right where only some of its fields are written.
    bench.command(&["SET", "pointsman:inst:shop", "x"]).await;
    let instance = Element::Instance("shop".into(), "1".into());
    let piece = [first[0].clone(), change(instance, Some("2"))];
    let why = refused(sink.piece(7, 0, &piece).await.unwrap());
    assert!(why.contains("inst:shop is string"), "{why}");
    let held = sink.read(&[Element::Route("a.example".into())]).await;
    assert_eq!(
        held.unwrap().values,
        [Some("1".into())],
        "nothing was written"
    );
    // A whole rebuild, then, clears it away.
    assert_eq!(
        sink.begin(&claim(8, None)).await.unwrap(),
        RebuildStep::Done
    );
    assert_eq!(sink.piece(8, 0, &piece).await.unwrap(), RebuildStep::Done);
    assert_eq!(sink.end(8, 1, 20).await.unwrap(), RebuildStep::Done);
    assert_eq!(bench.meta("state").await, "ready");
}
