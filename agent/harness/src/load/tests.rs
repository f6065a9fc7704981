//! The load itself.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::kept::parse;
use super::*;

#[test]
fn an_answer_is_whole_with_its_body() {
    let text = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc";
    assert!(parse(&text[..text.len() - 1]).unwrap().is_none());
    let answer = parse(text).unwrap().unwrap();
    assert_eq!((answer.status, answer.closes), (404, true));
    assert_eq!(&text[answer.head..answer.whole], b"abc");
}

/// Answers each request with its host, and closes every third connection
/// instead.
async fn server(closes: bool) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut bytes = [0; 1024];
                for turn in 0.. {
                    let read = stream.read(&mut bytes).await.unwrap_or(0);
                    if read == 0 || closes && turn == 2 {
                        return;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nX-Pointsman-Error: why\r\n\
                                   Content-Length: 2\r\n\r\nok";
                    stream.write_all(answer).await.unwrap();
                }
            });
        }
    });
    addr
}

#[derive(Default)]
struct First {
    seen: Mutex<Vec<(bool, String)>>,
}

impl Observer for First {
    fn goes_on(&self) -> bool {
        self.seen.lock().unwrap().len() < 7
    }

    fn note(&self, exchange: &Exchange<'_>) {
        let what = exchange.answer.as_ref().unwrap().outcome();
        self.seen.lock().unwrap().push((exchange.broke_off, what));
    }
}

#[tokio::test]
async fn what_breaks_off_is_repeated_over_a_new_connection() {
    let observer = Arc::<First>::default();
    let requests = Requests {
        target: server(true).await,
        connections: 1,
        hosts: Hosts::one("a.example"),
        pace: Pace::AtOnce,
        repeats: true,
        seed: 1,
    };
    requests.run(Arc::clone(&observer)).await;
    let seen = std::mem::take(&mut *observer.seen.lock().unwrap());
    let broke_off = seen.iter().map(|(broke_off, _)| *broke_off);
    let third = (0..7).map(|turn| turn > 1 && turn % 2 == 0);
    assert!(broke_off.eq(third), "{seen:?}");
    assert!(seen.iter().all(|(_, what)| what == "200 why"), "{seen:?}");
}

#[tokio::test]
async fn a_load_counts_what_is_answered() {
    let load = Load::start(server(false).await, 3, Hosts::one("a"), Duration::ZERO);
    while load.counter.tally.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let tally = load.stop().await;
    assert!(tally.keys().eq(["200 why"]), "{tally:?}");
}
