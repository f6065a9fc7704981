//! The call `Check` of gRPC's health checking protocol, version 1, over HTTP/2.

use std::error::Error as _;
use std::net::SocketAddr;

use hyper::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pointsman_model::{Chain, HealthCheck};
use tonic::metadata::MetadataValue;
use tonic::{Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

use super::{Outcome, ProbeFault, ProbeStream, USER_AGENT, broken, driven, host};

/// Asks the instance whether it serves.
pub(super) async fn ask(
    check: &HealthCheck,
    addr: SocketAddr,
    stream: impl ProbeStream,
) -> Result<(), Outcome> {
    let scheme = if check.tls { "https" } else { "http" };
    let origin: Uri = format!("{scheme}://{}", host(check, addr))
        .parse()
        .map_err(|error| Outcome::Own(format!("the request is not valid: {error}")))?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let service = service_fn(|request| sender.clone().send_request(request));
    let mut client = HealthClient::with_origin(service, origin);
    let service = check.service.as_deref().unwrap_or_default().to_owned();
    let mut request = Request::new(HealthCheckRequest { service });
    let agent = MetadataValue::from_static(USER_AGENT);
    request.metadata_mut().insert("user-agent", agent);
    let exchange = async {
        let answer = client.check(request).await.map_err(refused)?;
        match answer.into_inner().status() {
            ServingStatus::Serving => Ok(()),
            other => Err(status(other.as_str_name())),
        }
    };
    driven(exchange, connection).await
}

fn status(what: &str) -> Outcome {
    Outcome::Bad(ProbeFault::Status, format!("gRPC: {what}"))
}

/// Without a call that came through, there is no status.
fn refused(answer: Status) -> Outcome {
    match answer.source() {
        Some(source) => Outcome::Bad(ProbeFault::Broken, format!("no answer: {}", Chain(source))),
        None => status(&format!("{:?} {}", answer.code(), answer.message())),
    }
}
