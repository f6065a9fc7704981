//! Probes of real sockets.

use std::sync::Arc;

use pointsman_harness::certificates::Certificates;
use pointsman_model::Policy;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_rustls::TlsAcceptor;
use tonic_health::ServingStatus;
use tonic_health::server::health_reporter;

use super::*;

fn check(json: &str) -> HealthCheck {
    let policy = format!(r#"{{"health_check":{json}}}"#);
    let policy = Policy::from_value(policy.as_bytes()).unwrap();
    policy.health_check.unwrap()
}

/// Answers each connection with these bytes and closes it, or, without any,
/// keeps silent; notes what was asked.
async fn instance(answer: Option<&'static [u8]>) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let Some(answer) = answer else {
                kept.push(stream);
                continue;
            };
            let mut request = vec![0; 4096];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            noted.lock().await.push(request);
            // The other side may have seen enough.
            stream.write_all(answer).await.ok();
        }
    });
    (addr, asked)
}

async fn probe(json: &str, answer: &'static [u8]) -> Outcome {
    let (addr, _) = instance(Some(answer)).await;
    attempt(&check(json), addr).await
}

fn fault(outcome: &Outcome) -> Option<ProbeFault> {
    match outcome {
        Outcome::Bad(fault, _) => Some(*fault),
        _ => None,
    }
}

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const FOUND: &[u8] =
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
const FINE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\nthe state is up\n";
const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nstate i\r\n4\r\ns up\r\n0\r\n\r\n";
const HALF: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthe state";
const HALF_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Le";
const NO_HTTP: &[u8] = b"220 mail.example ESMTP\r\n";

#[tokio::test]
async fn the_status_decides() {
    for (json, answer, good) in [
        ("{}", NO_CONTENT, true),
        ("{}", FINE, true),
        ("{}", FOUND, true),
        (r#"{"status":"200-299"}"#, FOUND, false),
        (r#"{"status":[302]}"#, FOUND, true),
        (r#"{"status":[200,204]}"#, NO_CONTENT, true),
        ("{}", BUSY, false),
        (r#"{"status":[503]}"#, BUSY, true),
    ] {
        let outcome = probe(json, answer).await;
        let expected = if good { None } else { Some(ProbeFault::Status) };
        assert_eq!(fault(&outcome), expected, "{json}: {outcome:?}");
    }
    let outcome = probe("{}", BUSY).await;
    assert_eq!(
        outcome,
        Outcome::Bad(ProbeFault::Status, "status 503".into())
    );
}

#[tokio::test]
async fn the_body_must_hold_what_is_wanted_even_in_two_pieces() {
    let wanted = r#"{"body":"state is up"}"#;
    assert_eq!(probe(wanted, FINE).await, Outcome::Good);
    assert_eq!(probe(wanted, CHUNKED).await, Outcome::Good);
    let outcome = probe(r#"{"body":"state is down"}"#, FINE).await;
    let reason = r#"the body lacks "state is down""#;
    assert_eq!(outcome, Outcome::Bad(ProbeFault::Body, reason.into()));
    assert_eq!(
        fault(&probe(wanted, NO_CONTENT).await),
        Some(ProbeFault::Body)
    );
}

#[tokio::test]
async fn a_body_is_looked_through_for_64_kib_and_no_further() {
    let page = |padding: usize| -> &'static [u8] {
        let body = ["x".repeat(padding), "END".to_owned()].concat();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        [head, body].concat().into_bytes().leak()
    };
    let wanted = r#"{"body":"END"}"#;
    assert_eq!(probe(wanted, page(BODY - 3)).await, Outcome::Good);
    let outcome = probe(wanted, page(BODY - 2)).await;
    assert_eq!(fault(&outcome), Some(ProbeFault::Body));
    let outcome = probe(wanted, page(BODY * 4)).await;
    assert_eq!(fault(&outcome), Some(ProbeFault::Body));
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let wanted = r#"{"body":"state is up"}"#;
    for (json, answer) in [
        (wanted, HALF),
        ("{}", HALF_HEAD),
        ("{}", NO_HTTP),
        ("{}", b"".as_slice()),
    ] {
        let outcome = probe(json, answer).await;
        assert_eq!(fault(&outcome), Some(ProbeFault::Broken), "{outcome:?}");
    }
    // Without a body to look for, the head is all that counts.
    assert_eq!(probe("{}", HALF).await, Outcome::Good);
}

#[tokio::test]
async fn a_head_without_an_end_is_given_up() {
    let endless = ["HTTP/1.1 200 OK\r\nX: ", &"x".repeat(8 * HEAD)].concat();
    let outcome = probe("{}", endless.into_bytes().leak()).await;
    assert_eq!(fault(&outcome), Some(ProbeFault::Broken), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn what_takes_too_long_is_bad() {
    let (silent, _) = instance(None).await;
    let begun = Instant::now();
    let outcome = attempt(&check(r#"{"timeout":"60ms"}"#), silent).await;
    let reason = "no answer within 60ms";
    assert_eq!(outcome, Outcome::Bad(ProbeFault::Timeout, reason.into()));
    assert!(begun.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn nobody_listening_is_bad() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    for json in ["{}", r#"{"type":"tcp"}"#] {
        let outcome = attempt(&check(json), addr).await;
        assert_eq!(fault(&outcome), Some(ProbeFault::Connect), "{outcome:?}");
    }
}

#[tokio::test]
async fn tcp_only_connects() {
    let (silent, _) = instance(None).await;
    let outcome = attempt(&check(r#"{"type":"tcp"}"#), silent).await;
    assert_eq!(outcome, Outcome::Good);
}

#[tokio::test]
async fn an_instance_sees_who_asks_for_what() {
    let (addr, asked) = instance(Some(FINE)).await;
    let whole = check(r#"{"path":"/health?deep=1","host":"shop.example"}"#);
    attempt(&whole, addr).await;
    attempt(&check("{}"), addr).await;
    let asked = asked.lock().await;
    assert!(
        asked[0].starts_with("GET /health?deep=1 HTTP/1.1\r\n"),
        "{asked:?}"
    );
    assert!(asked[0].contains("\r\nhost: shop.example\r\n"), "{asked:?}");
    assert!(
        asked[0].contains("\r\nuser-agent: pointsman-probe\r\n"),
        "{asked:?}"
    );
    assert!(asked[1].starts_with("GET / HTTP/1.1\r\n"), "{asked:?}");
    assert!(
        asked[1].contains(&format!("\r\nhost: {addr}\r\n")),
        "{asked:?}"
    );
}

#[test]
fn the_agents_own_trouble_is_told_apart() {
    for errno in [Errno::EMFILE, Errno::ENFILE, Errno::EADDRNOTAVAIL] {
        let outcome = not_connected(io::Error::from(errno));
        assert!(matches!(outcome, Outcome::Own(_)), "{outcome:?}");
    }
    for errno in [Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::ECONNRESET] {
        let outcome = not_connected(io::Error::from(errno));
        assert_eq!(fault(&outcome), Some(ProbeFault::Connect));
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_of_an_agent_that_stood_still_says_nothing() {
    let (silent, _) = instance(None).await;
    let patience = check(r#"{"timeout":"1s"}"#);
    let probe = tokio::spawn(async move { attempt(&patience, silent).await });
    tokio::task::yield_now().await;
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(matches!(probe.await.unwrap(), Outcome::Own(_)));
}

/// Certificates of an authority of the test's own: what an instance shows for
/// 127.0.0.1, and what a prober trusts.
struct Authority {
    server: ServerConfig,
    trusted: Arc<RootCertStore>,
}

impl Authority {
    fn new() -> Self {
        let files = Certificates::make();
        let certificate = CertificateDer::from_pem_slice(&files.pem("server.pem")).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&files.pem("server.key")).unwrap();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let mut trusted = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(&files.pem("ca.pem")).unwrap();
        trusted.add(ca).unwrap();
        let trusted = Arc::new(trusted);
        Self { server, trusted }
    }

    /// An instance over TLS in front of one that speaks plainly.
    async fn in_front_of(&self, plain: SocketAddr, protocol: &[u8]) -> SocketAddr {
        let mut server = self.server.clone();
        server.alpn_protocols = vec![protocol.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await?;
                    let mut inner = TcpStream::connect(plain).await?;
                    tokio::io::copy_bidirectional(&mut stream, &mut inner).await
                });
            }
        });
        addr
    }

    /// A probe by who trusts this authority.
    async fn probe(&self, json: &str, addr: SocketAddr) -> Outcome {
        let check = check(json);
        let stream = TcpStream::connect(addr).await.unwrap();
        let tried = async {
            let stream = tls::handshake_trusting(&self.trusted, &check, addr, stream).await?;
            talk(&check, addr, stream).await
        };
        tried
            .await
            .map_or_else(|outcome| outcome, |()| Outcome::Good)
    }
}

#[tokio::test]
async fn over_tls_the_certificate_is_verified_and_then_the_answer_counts() {
    let authority = Authority::new();
    for (answer, json, fault_of) in [
        (FINE, r#"{"tls":true,"body":"state is up"}"#, None),
        (BUSY, r#"{"tls":true}"#, Some(ProbeFault::Status)),
        (FINE, r#"{"tls":true,"host":"127.0.0.1:9"}"#, None),
        (FINE, r#"{"type":"tcp","tls":true}"#, None),
        // The certificate is for the address alone.
        (
            FINE,
            r#"{"tls":true,"server_name":"shop.internal"}"#,
            Some(ProbeFault::Tls),
        ),
        (
            FINE,
            r#"{"tls":true,"host":"shop.internal"}"#,
            Some(ProbeFault::Tls),
        ),
    ] {
        let (plain, _) = instance(Some(answer)).await;
        let addr = authority.in_front_of(plain, b"http/1.1").await;
        let outcome = authority.probe(json, addr).await;
        assert_eq!(fault(&outcome), fault_of, "{json}: {outcome:?}");
    }
}

#[tokio::test]
async fn who_is_not_trusted_or_speaks_no_tls_is_bad() {
    let (plain, _) = instance(Some(FINE)).await;
    let addr = Authority::new().in_front_of(plain, b"http/1.1").await;
    let other = Authority::new();
    for addr in [addr, plain] {
        let outcome = other.probe(r#"{"tls":true}"#, addr).await;
        assert_eq!(fault(&outcome), Some(ProbeFault::Tls), "{outcome:?}");
    }
}

/// A gRPC server with the health service: as a whole it serves, and so does
/// `shop.Cart`; `shop.Stock` does not.
async fn grpc_instance() -> SocketAddr {
    let (reporter, service) = health_reporter();
    for (name, status) in [
        ("shop.Cart", ServingStatus::Serving),
        ("shop.Stock", ServingStatus::NotServing),
    ] {
        reporter.set_service_status(name, status).await;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tonic::transport::Server::builder().add_service(service);
    tokio::spawn(server.serve_with_incoming(incoming));
    addr
}

const GRPC: [(&str, Option<ProbeFault>); 4] = [
    (r#"{"type":"grpc"#, None),
    (r#"{"type":"grpc","service":"shop.Cart"#, None),
    (
        r#"{"type":"grpc","service":"shop.Stock"#,
        Some(ProbeFault::Status),
    ),
    (
        r#"{"type":"grpc","service":"shop.Unknown"#,
        Some(ProbeFault::Status),
    ),
];

#[tokio::test]
async fn a_grpc_server_is_asked_about_itself_or_a_service() {
    let addr = grpc_instance().await;
    for (json, fault_of) in GRPC {
        let outcome = attempt(&check(&format!("{json}\"}}")), addr).await;
        assert_eq!(fault(&outcome), fault_of, "{json}: {outcome:?}");
    }
    let outcome = attempt(&check(r#"{"type":"grpc","service":"shop.Stock"}"#), addr).await;
    let reason = "gRPC: NOT_SERVING";
    assert_eq!(outcome, Outcome::Bad(ProbeFault::Status, reason.into()));
}

#[tokio::test]
async fn a_grpc_server_is_asked_over_tls_too() {
    let authority = Authority::new();
    let addr = authority.in_front_of(grpc_instance().await, b"h2").await;
    for (json, fault_of) in GRPC {
        let outcome = authority
            .probe(&format!("{json}\",\"tls\":true}}"), addr)
            .await;
        assert_eq!(fault(&outcome), fault_of, "{json}: {outcome:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_speaks_no_grpc_is_bad() {
    let (http, _) = instance(Some(FINE)).await;
    let outcome = attempt(&check(r#"{"type":"grpc"}"#), http).await;
    assert_eq!(fault(&outcome), Some(ProbeFault::Broken), "{outcome:?}");
    let (silent, _) = instance(None).await;
    let outcome = attempt(&check(r#"{"type":"grpc","timeout":"60ms"}"#), silent).await;
    assert_eq!(fault(&outcome), Some(ProbeFault::Timeout), "{outcome:?}");
}
