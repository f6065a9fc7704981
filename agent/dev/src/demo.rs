//! `pointsman-dev demo-instance`: a small web app that says who it is.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Request, State};
use tokio::net::TcpListener;

/// Arguments of `pointsman-dev demo-instance`.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// The name that it answers with.
    #[arg(long)]
    name: String,

    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
}

/// Serves until `shutdown` is done.
pub async fn run(
    args: DemoArgs,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    pointsman_process::follow_parent()?;
    let listener = TcpListener::bind(args.listen).await?;
    axum::serve(listener, router(&args))
        .with_graceful_shutdown(shutdown)
        .await
}

fn router(args: &DemoArgs) -> Router {
    let title = format!("{} at {}", args.name, args.listen);
    Router::new().fallback(answer).with_state(title)
}

/// Who it is, then the request as it came in.
async fn answer(State(title): State<String>, request: Request) -> String {
    let mut text = format!("{title}\n\n{} {}\n", request.method(), request.uri());
    for (name, value) in request.headers() {
        text.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use tower::ServiceExt;

    #[tokio::test]
    async fn it_says_who_it_is_and_what_it_was_asked() {
        let args = DemoArgs {
            name: "demo-1".into(),
            listen: "127.0.0.1:9001".parse().unwrap(),
        };
        let request = Request::get("/some/path?x=1").header("host", "demo.localhost");
        let answer = router(&args)
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        let body = to_bytes(answer.into_body(), 4096).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(
            text,
            "demo-1 at 127.0.0.1:9001\n\nGET /some/path?x=1\nhost: demo.localhost\n"
        );
    }
}
