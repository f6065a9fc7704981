//! The pieces of a rebuild, as Redis takes them.

use pointsman_model::{Change, Element};
use pointsman_publish::sink::{Claim, Sink, Step};

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
    };
    assert_eq!(sink.begin(&claim).await.unwrap(), Step::Done);

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
    assert!(matches!(early, Step::Refused(_)), "{early:?}");
    for (n, piece) in [(0, &first[..]), (1, &second), (0, &first), (1, &second)] {
        let step = sink.piece(5, n, piece).await.unwrap();
        assert_eq!(step, Step::Done, "piece {n}");
    }
    let other_claim = sink.piece(6, 2, &first).await.unwrap();
    assert!(matches!(other_claim, Step::Refused(_)), "{other_claim:?}");

    let elements: Vec<_> = first.into_iter().map(|change| change.element).collect();
    let held = sink.read(&elements).await.unwrap().values;
    let held: Vec<_> = held.iter().map(Option::as_deref).collect();
    assert_eq!(held, [None, Some("5"), None, Some("4")]);
    assert_eq!(sink.end(5, 2, 9).await.unwrap(), Step::Done);
}
