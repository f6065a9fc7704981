//! TLS to an instance. As at the edge, its certificate is verified, by what the
//! system trusts (or `SSL_CERT_FILE` and `SSL_CERT_DIR` name).

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use pointsman_model::{CheckKind, HealthCheck};
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Outcome, ProbeFault};

/// Read when the first probe needs it.
static TRUSTED: LazyLock<Arc<RootCertStore>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
});

/// Shakes hands with the instance at `addr`.
pub(super) async fn handshake(
    check: &HealthCheck,
    addr: SocketAddr,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Outcome> {
    handshake_trusting(&TRUSTED, check, addr, stream).await
}

/// The same, with certificates of these authorities.
pub(super) async fn handshake_trusting(
    trusted: &Arc<RootCertStore>,
    check: &HealthCheck,
    addr: SocketAddr,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Outcome> {
    if trusted.is_empty() {
        let why = "no certificate is trusted: see SSL_CERT_FILE in the documentation";
        return Err(Outcome::Own(why.to_owned()));
    }
    let own = |error: &dyn std::fmt::Display| Outcome::Own(format!("TLS cannot be used: {error}"));
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| own(&error))?
        .with_root_certificates(Arc::clone(trusted))
        .with_no_client_auth();
    // A session that is resumed would show no certificate.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = match check.kind {
        CheckKind::Http => vec![b"http/1.1".to_vec()],
        CheckKind::Grpc => vec![b"h2".to_vec()],
        CheckKind::Tcp => Vec::new(),
    };
    let name = name(check, addr).map_err(|error| own(&error))?;
    let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let bad = |error| Outcome::Bad(ProbeFault::Tls, format!("no TLS: {error}"));
    shaken.await.map_err(bad)
}

/// The name that is asked for, and that the certificate must prove.
fn name(
    check: &HealthCheck,
    addr: SocketAddr,
) -> Result<ServerName<'static>, rustls::pki_types::InvalidDnsNameError> {
    let named = check.server_name.as_ref().map(|name| name.as_str());
    let named = named.or(check.host.as_ref().map(|host| host.host()));
    match named {
        Some(name) => ServerName::try_from(name.to_owned()),
        None => Ok(ServerName::from(addr.ip())),
    }
}
