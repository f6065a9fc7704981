//! Asking edges, one by one, through their status listeners. Nothing but explain
//! does that: all else is told by the reports.
//!
//! The address is what the edge itself has reported, and nothing that an answer
//! says leads anywhere else. An edge has little time, and little room.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long an edge may take for all of an answer.
const PATIENCE: Duration = Duration::from_secs(2);
const LARGEST_ANSWER: usize = 1 << 20;
/// How much of an edge's own words is repeated, in characters.
const LONGEST_DETAIL: usize = 200;

/// Why an edge has not answered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The edge does not say where its status listener is.
    #[error("the edge reports no status_url: set it in setup()")]
    Unknown,
    /// What it says is no such address.
    #[error("the edge reports the status_url {0:?}, which is not like http://host:port/…/status")]
    Address(String),
    /// There is no connection, or it broke off.
    #[error("{address} gave no answer: {reason}")]
    Broken {
        /// Where it was tried.
        address: String,
        /// What went wrong.
        reason: String,
    },
    /// There is no such location.
    #[error(
        "{0} answers 404: its nginx has no location for explain, as the shipped status.conf has"
    )]
    Absent(String),
    /// The edge refuses.
    #[error("{address} answers {status}: {detail}")]
    Refused {
        /// Who answered.
        address: String,
        /// With what.
        status: u16,
        /// What it says.
        detail: String,
    },
    /// What came is not JSON.
    #[error("the answer of {0} is not JSON")]
    Unreadable(String),
}

/// Asks the edge that has reported this `status_url` to explain a request, which
/// `query` names.
pub async fn explain(status_url: &str, query: &str) -> Result<Value, AskError> {
    let (authority, path) = location(status_url)?;
    let address = format!("http://{authority}{path}");
    let broken = |reason: String| AskError::Broken {
        address: address.clone(),
        reason,
    };
    let exchange = async {
        let stream = TcpStream::connect(&authority).await;
        let stream = stream.map_err(|error| broken(error.to_string()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(error.to_string()))?;
        let request = Request::builder()
            .uri(format!("{path}?{query}"))
            .header(header::HOST, &authority)
            .body(Empty::<Bytes>::new())
            .map_err(|error| broken(error.to_string()))?;
        let answer = async {
            let answer = sender.send_request(request).await;
            let answer = answer.map_err(|error| broken(error.to_string()))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect();
            let body = body.await.map_err(|error| broken(error.to_string()))?;
            Ok((status, body.to_bytes()))
        };
        tokio::pin!(answer);
        // The connection ends with the exchange.
        tokio::select! {
            answer = &mut answer => answer,
            ended = connection => {
                ended.map_err(|error| broken(error.to_string()))?;
                answer.await
            }
        }
    };
    let (status, body) = match timeout(PATIENCE, exchange).await {
        Ok(answer) => answer?,
        Err(_) => return Err(broken(format!("none within {PATIENCE:?}"))),
    };
    match status {
        StatusCode::OK => serde_json::from_slice(&body).map_err(|_| AskError::Unreadable(address)),
        StatusCode::NOT_FOUND => Err(AskError::Absent(address)),
        status => Err(AskError::Refused {
            status: status.as_u16(),
            detail: detail(&body),
            address,
        }),
    }
}

/// `host:port` of a status listener, and the path of explain there.
fn location(status_url: &str) -> Result<(String, String), AskError> {
    if status_url.is_empty() {
        return Err(AskError::Unknown);
    }
    let bad = || AskError::Address(status_url.to_owned());
    let uri: Uri = status_url.parse().map_err(|_| bad())?;
    let authority = uri.authority().filter(|a| !a.as_str().contains('@'));
    let folder = uri.path().strip_suffix("/status");
    match (uri.scheme_str(), authority, folder, uri.query()) {
        (Some("http"), Some(authority), Some(folder), None) => {
            let port = authority.port_u16().unwrap_or(80);
            let authority = format!("{}:{port}", authority.host());
            Ok((authority, format!("{folder}/explain")))
        }
        _ => Err(bad()),
    }
}

/// What an edge says of its refusal.
fn detail(body: &[u8]) -> String {
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let detail = value.as_ref().and_then(|value| value["detail"].as_str());
    let detail = detail.unwrap_or("no detail");
    detail.chars().take(LONGEST_DETAIL).collect()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_a_status_listener_is_asked() {
        let at = |url| location(url).unwrap();
        let pair = |authority: &str, path: &str| (authority.to_owned(), path.to_owned());
        assert_eq!(
            at("http://10.0.0.1:8082/pointsman/status"),
            pair("10.0.0.1:8082", "/pointsman/explain")
        );
        assert_eq!(at("http://[::1]/status"), pair("[::1]:80", "/explain"));
        assert_eq!(location(""), Err(AskError::Unknown));
        for url in [
            "http://10.0.0.1:8082",
            "https://10.0.0.1:8082/pointsman/status",
            "http://user:secret@10.0.0.1/pointsman/status",
            "http://10.0.0.1/pointsman/status?x=/status",
            "http://10.0.0.1/other",
            "ftp://x/status",
            "here",
        ] {
            assert!(
                matches!(location(url), Err(AskError::Address(_))),
                "{url} is asked"
            );
        }
    }

    /// Asks an edge that answers so; with what it was asked.
    async fn asked(answer: Vec<u8>) -> (Result<Value, AskError>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/p/status", listener.local_addr().unwrap());
        let edge = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            // The asker may have gone.
            stream.write_all(&answer).await.ok();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
            String::from_utf8(head).unwrap()
        });
        let answer = explain(&url, "url=x").await;
        edge.abort();
        let head = edge.await.unwrap_or_default();
        (answer, head)
    }

    fn answer(head: &str, body: &str) -> Vec<u8> {
        let length = body.len();
        format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    }

    #[tokio::test]
    async fn an_answer_is_read_and_a_redirect_is_not_followed() {
        let (found, head) = asked(answer("200 OK", r#"{"app":"shop"}"#)).await;
        assert_eq!(found.unwrap()["app"], "shop");
        assert!(
            head.starts_with("GET /p/explain?url=x HTTP/1.1\r\n"),
            "{head}"
        );
        let redirect = "302 Found\r\nLocation: http://127.0.0.1:1/";
        let (found, _) = asked(answer(redirect, "")).await;
        assert!(
            matches!(found, Err(AskError::Refused { status: 302, .. })),
            "{found:?}"
        );
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told() {
        let (found, _) = asked(answer("400 Bad Request", r#"{"detail":"no url"}"#)).await;
        assert!(
            found
                .unwrap_err()
                .to_string()
                .ends_with("answers 400: no url")
        );
        let (found, _) = asked(answer("404 Not Found", "")).await;
        assert!(matches!(found, Err(AskError::Absent(_))), "{found:?}");
        let (found, _) = asked(answer("200 OK", "hello")).await;
        assert!(matches!(found, Err(AskError::Unreadable(_))), "{found:?}");
        let large = format!("\"{}\"", "x".repeat(LARGEST_ANSWER));
        let (found, _) = asked(answer("200 OK", &large)).await;
        assert!(matches!(found, Err(AskError::Broken { .. })), "too large");
        let (found, _) = asked(b"nonsense\r\n\r\n".to_vec()).await;
        assert!(matches!(found, Err(AskError::Broken { .. })), "{found:?}");
        let (found, _) = asked(Vec::new()).await;
        assert!(found.unwrap_err().to_string().ends_with("none within 2s"));
    }
}
