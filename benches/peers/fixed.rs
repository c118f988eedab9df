//! A server of fixed bytes, with the guard and the limits of the readers' ports: the least that an answer of that size costs.

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderValue, header},
    routing::get,
};
use http_server::{Access, Guard, Limits, guarded, serve_http};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// With this word as its first argument the program is this server.
pub(crate) const WORD: &str = "serve-fixed";

/// Serves two files as `/plain` and `/packed`, and prints its address.
pub(crate) async fn serve(plain: &str, packed: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    let limits = Limits { per_second: 1_000_000, ..Limits::of_process(5) };
    let paths = [("/plain", plain), ("/packed", packed)];
    let guard = Guard::new(limits, paths.map(|(path, _)| (path, Access::Public))).serve_pages();
    let router = paths.into_iter().fold(Router::new(), |router, (path, file)| {
        let bytes = Bytes::from(std::fs::read(file).expect("a file"));
        let answer = move || async move {
            let head = [
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
                (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            ];
            (head, Body::from(bytes.clone()))
        };
        router.route(path, get(answer))
    });
    serve_http(listener, guarded(router, std::sync::Arc::new(guard)), limits, None, CancellationToken::new())
        .await;
}
