//! How etcd is reached.

use etcd_client::{Certificate, Identity, TlsOptions};

/// How to reach etcd.
#[derive(Clone)]
pub struct EtcdOptions {
    /// URLs, `http://host:port` or `https://…`.
    pub endpoints: Vec<String>,
    /// User name and password, where authentication is on.
    pub user: Option<(String, String)>,
    /// TLS, where the URLs are `https`.
    pub tls: Option<EtcdTls>,
    /// The registry's prefix, `/pointsman/`.
    pub prefix: String,
}

/// What TLS needs, in PEM.
#[derive(Clone, Default)]
pub struct EtcdTls {
    /// The authorities to trust instead of those of the system.
    pub ca: Option<String>,
    /// A client certificate with its key.
    pub identity: Option<(String, String)>,
}

impl EtcdTls {
    pub(super) fn options(&self) -> TlsOptions {
        let options = match &self.ca {
            Some(ca) => TlsOptions::new().ca_certificate(Certificate::from_pem(ca)),
            None => TlsOptions::new().with_native_roots(),
        };
        match &self.identity {
            Some((cert, key)) => options.identity(Identity::from_pem(cert, key)),
            None => options,
        }
    }
}
