//! What etcd is filled with.

use pointsman_harness::registry::Registry;

/// Puts these keys of the registry (without the prefix `/pointsman/`); answers
/// etcd's revision once all are in.
pub async fn put_all(etcd_url: &str, entries: impl IntoIterator<Item = (String, String)>) -> i64 {
    Registry::connect(etcd_url).await.put_all(entries).await
}

/// An entry that binds a host to an app.
pub fn route(host: &str, app: &str) -> (String, String) {
    (format!("routes/{host}"), format!(r#"{{"app":"{app}"}}"#))
}

/// An entry that registers an instance.
pub fn instance(app: &str, id: &str, addr: std::net::SocketAddr) -> (String, String) {
    (format!("instances/{app}/{id}"), addr.to_string())
}
