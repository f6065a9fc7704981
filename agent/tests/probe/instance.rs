//! An instance that can be made to fail, and counts how often it is asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A server in this process. Dropped, it is gone.
pub struct Instance {
    pub addr: SocketAddr,
    well: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Instance {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (well, asked) = (
            Arc::new(AtomicBool::new(true)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (is_well, count) = (Arc::clone(&well), Arc::clone(&asked));
        let app = Router::new().fallback(move || {
            count.fetch_add(1, Ordering::Relaxed);
            let well = is_well.load(Ordering::Relaxed);
            async move {
                if well {
                    (StatusCode::OK, "ok\n")
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, "no\n")
                }
            }
        });
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self {
            addr,
            well,
            asked,
            server,
        }
    }

    /// Lets it answer 200, or 503.
    pub fn set_well(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }

    /// How often it was asked.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
    }
}
