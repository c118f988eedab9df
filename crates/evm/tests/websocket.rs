//! Nodes over a WebSocket that send more than answers, or want credentials.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

#[path = "support/node.rs"]
mod node;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use evm::{Next, Source};
use futures_util::{SinkExt, StreamExt};
use node::{Generated, TestNode, config_of};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// A node of generated blocks.
#[derive(Clone, Default)]
struct Shared {
    connections: Arc<AtomicU64>,
    /// The credentials of the last connection.
    authorization: Arc<Mutex<Option<String>>>,
    /// How many queries for logs get an error without an id.
    without_id: Arc<AtomicU64>,
    /// Whether heads are announced without end.
    floods: bool,
}

async fn start(chain: &Generated, shared: &Shared) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (chain, shared) = (chain.clone(), shared.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, chain.clone(), shared.clone()));
        }
    });
    addr
}

async fn serve(stream: TcpStream, chain: Generated, shared: Shared) {
    shared.connections.fetch_add(1, Ordering::Relaxed);
    #[allow(clippy::result_large_err, reason = "the library's signature")]
    let note = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        let value = request.headers().get("authorization");
        *shared.authorization.lock().unwrap() = value.map(|value| value.to_str().unwrap().to_owned());
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, note).await.unwrap();
    let mut flood = interval(Duration::from_millis(1));
    loop {
        let answer = tokio::select! {
            message = socket.next() => {
                let Some(Ok(Message::Text(text))) = message else { return };
                let call: Value = serde_json::from_str(&text).unwrap();
                let refuses = call["method"] == "eth_getLogs"
                    && shared.without_id.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
                if refuses {
                    json!({ "jsonrpc": "2.0", "id": null, "error": { "code": -32_600, "message": "invalid request" } })
                } else {
                    json!({ "jsonrpc": "2.0", "id": call["id"], "result": chain.result(&call) })
                }
            }
            _ = flood.tick(), if shared.floods => {
                json!({ "jsonrpc": "2.0", "method": "eth_subscription", "params": { "subscription": "0x1", "result": {} } })
            }
        };
        if socket.send(Message::text(answer.to_string())).await.is_err() {
            return;
        }
    }
}

async fn source_of(chain: &Generated, shared: &Shared, credentials: &str) -> Source {
    let addr = start(chain, shared).await;
    let unused = TestNode::good(chain).await;
    let mut config = config_of(&[&unused]);
    config.nodes = vec![format!("ws://{credentials}{addr}").parse().unwrap()];
    config.poll_interval = Duration::from_secs(3_600);
    Source::new(config).unwrap()
}

async fn follow(source: &Source, chain: &Generated) {
    let deadline = Instant::now() + Duration::from_secs(60);
    for number in 0..chain.height {
        let next = source.next(&chain.block(number), deadline).await.unwrap();
        assert!(matches!(next, Next::Block { .. }), "after {number}: {next:?}");
    }
}

#[tokio::test]
async fn an_error_without_an_id_does_not_drop_the_connection() {
    let chain = Generated::new(10);
    let shared = Shared { without_id: Arc::new(AtomicU64::new(3)), ..Shared::default() };
    let source = source_of(&chain, &shared, "").await;
    follow(&source, &chain).await;
    assert_eq!(shared.without_id.load(Ordering::Relaxed), 0);
    assert_eq!(shared.connections.load(Ordering::Relaxed), 1);
    assert_eq!(source.counters().set_aside(), 0);
}

#[tokio::test]
async fn the_credentials_of_a_url_are_sent_in_the_handshake() {
    let chain = Generated::new(2);
    let shared = Shared::default();
    let source = source_of(&chain, &shared, "Aladdin:open%20sesame@").await;
    follow(&source, &chain).await;
    // The example of RFC 7617.
    assert_eq!(shared.authorization.lock().unwrap().as_deref(), Some("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="));
}

#[tokio::test]
async fn announced_heads_without_end_cause_no_hot_loop() {
    let chain = Generated::new(2);
    let shared = Shared { floods: true, ..Shared::default() };
    let source = source_of(&chain, &shared, "").await;
    follow(&source, &chain).await;
    let started = Instant::now();
    let mut waits = 0;
    while started.elapsed() < Duration::from_secs(1) {
        source.wait().await;
        waits += 1;
    }
    assert!((2..=21).contains(&waits), "{waits} waits ended within a second");
}
