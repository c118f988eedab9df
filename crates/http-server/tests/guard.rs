//! A guarded port over real connections: with and without tokens, with TLS, with clients that misbehave.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Bytes,
    routing::{get, post},
};
use http_server::{Access, ApiError, Audit, Guard, Limits, RequestId, Role, Tokens, guarded, serve_http};
use ports::{Pem, Tls};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

const READ: &str = "the-token-of-readers";
const OPERATOR: &str = "the-token-of-operators";

/// A port with a path of each kind of access.
struct Port {
    address: SocketAddr,
    audit: Audit,
    _stop: DropGuard,
}

impl Port {
    async fn start(limits: Limits, tokens: Tokens, tls: Option<Tls>) -> Self {
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/shown", get(async || "shown"))
            .route("/lanes/{lane}", post(async |body: Bytes| body.len().to_string()))
            .route("/orders", post(async || "done"))
            .route("/slow", get(async || tokio::time::sleep(Duration::from_secs(60)).await))
            .fallback(async || ApiError::new(axum::http::StatusCode::NOT_FOUND, "not_found", "no such path"));
        let access = [
            ("/livez", Access::Open),
            ("/shown", Access::Needs(Role::Read)),
            ("/lanes/{lane}", Access::Needs(Role::Operator)),
            ("/orders", Access::Acts),
        ];
        let audit = Audit::default();
        let guard = Guard::new(limits, access).refuse_pages().tokens(tokens).audit(audit.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve_http(listener, guarded(router, Arc::new(guard)), limits, tls, stop.clone()));
        Self { address, audit, _stop: stop.drop_guard() }
    }

    async fn ask(&self, head: &str) -> Answer {
        ask_on(TcpStream::connect(self.address).await.unwrap(), head, b"").await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn error(&self) -> (u16, String) {
        let body: Value = serde_json::from_str(&self.body).expect(&self.body);
        assert!(body["message"].as_str().is_some_and(|message| message.len() > 5), "{body}");
        let id = body["request_id"].as_str().expect("an id");
        assert!(
            self.head.to_lowercase().contains(&format!("x-request-id: {}", id.to_lowercase())),
            "{}",
            self.head
        );
        (self.status, body["error"].as_str().expect("a word").to_owned())
    }
}

/// Sends a request whose head lacks only `Connection` and the blank line.
async fn ask_on(mut stream: impl AsyncRead + AsyncWrite + Unpin, head: &str, body: &[u8]) -> Answer {
    stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes()).await.unwrap();
    stream.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

fn tokens() -> Tokens {
    let tokens = Tokens::default();
    tokens.replace(Role::Read, READ).unwrap();
    tokens.replace(Role::Operator, OPERATOR).unwrap();
    tokens
}

#[tokio::test]
async fn a_token_opens_what_its_role_may_do_and_nothing_else() {
    let port = Port::start(Limits::default(), tokens(), None).await;
    for (request, token, expected) in [
        ("GET /livez", "", 200),
        ("GET /shown", "", 401),
        ("GET /shown", "Bearer wrong-wrong-wrong-wrong", 401),
        ("GET /shown", "Basic dGhlLXRva2VuLW9mLXJlYWRlcnM=", 401),
        ("GET /shown", READ, 401),
        ("GET /shown", "bearer the-token-of-readers", 200),
        ("GET /shown", "Bearer the-token-of-operators", 200),
        ("POST /lanes/7", "", 401),
        ("POST /lanes/7", "Bearer the-token-of-readers", 403),
        ("POST /lanes/7", "Bearer the-token-of-operators", 200),
        ("POST /orders", "Bearer the-token-of-readers", 403),
        ("POST /orders", "Bearer the-token-of-operators", 200),
        // Nobody learns which paths there are.
        ("GET /nothing", "", 401),
        ("GET /nothing", "Bearer the-token-of-readers", 404),
    ] {
        let token = if token.is_empty() { String::new() } else { format!("\r\nAuthorization: {token}") };
        let answer = port.ask(&format!("{request} HTTP/1.1\r\nHost: any.example{token}")).await;
        assert_eq!(answer.status, expected, "{request} {token}");
        if expected == 401 {
            assert_eq!(answer.error(), (401, "unauthorized".to_owned()));
            assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
        }
    }
}

/// A port whose token is in the body, with errors in a shape of its own, for pages of every site.
async fn body_port(tokens: Tokens) -> (Port, Tokens) {
    let router = Router::new()
        .route(
            "/told",
            axum::routing::any(async |id: Extension<RequestId>, body: Bytes| {
                format!("{} {}", id.0.0, body.len())
            }),
        )
        .route("/act", post(async || "done"))
        .route("/page", get(async || "page"))
        .fallback(async || ApiError::new(axum::http::StatusCode::NOT_FOUND, "not_found", "no such path"));
    let access = [
        ("/told", Access::InBody(Role::Read)),
        ("/act", Access::InBody(Role::Operator)),
        ("/page", Access::Public),
    ];
    let audit = Audit::default();
    let limits = Limits { per_second: 1_000, ..Limits::default() };
    let guard = Guard::new(limits, access)
        .tokens(tokens.clone())
        .otherwise(Access::Public)
        .serve_pages()
        .shape(|error, id| serde_json::json!([error.status().as_u16(), error.message(), id]))
        .audit(audit.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve_http(listener, guarded(router, Arc::new(guard)), limits, None, stop.clone()));
    (Port { address, audit, _stop: stop.drop_guard() }, tokens)
}

#[tokio::test]
async fn a_token_in_the_body_opens_what_it_may_and_without_tokens_nobody_is_served() {
    let (port, tokens) = body_port(tokens()).await;
    let ask = async |request: &str, body: &str| {
        let stream = TcpStream::connect(port.address).await.unwrap();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: any.example\r\nX-Request-ID: r\r\nContent-Length: {}",
            body.len()
        );
        ask_on(stream, &head, body.as_bytes()).await
    };
    let read = format!("{{\"more\":[1,{{}}],\"token\":\"{READ}\"}}");
    let operator = format!("{{\"token\":\"{OPERATOR}\"}}");
    for (request, body, status, expected) in [
        ("POST /told", &*read, 200, &*format!("r {}", read.len())),
        ("PUT /told", &*operator, 200, &*format!("r {}", operator.len())),
        ("POST /act", &*operator, 200, "done"),
        ("POST /act", &*read, 401, "[401,\"Incorrect Token!\",\"r\"]"),
        ("POST /told", "{}", 401, "[401,\"Incorrect Token!\",\"r\"]"),
        ("POST /told", "{\"token\":\"wrong\"}", 401, "[401,\"Incorrect Token!\",\"r\"]"),
        ("GET /page", "", 200, "page"),
        ("GET /nothing", "", 404, "[404,\"no such path\",\"r\"]"),
    ] {
        let answer = ask(request, body).await;
        assert_eq!((answer.status, &*answer.body), (status, expected), "{request} {body}");
        assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
        assert!(!answer.head.contains("www-authenticate"), "{}", answer.head);
    }
    for body in ["", "[]", "{", "\"x\"", "{\"token\":7}", "{\"token\":null}"] {
        let answer = ask("POST /told", body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains("the body is no JSON object with a token"), "{}", answer.body);
    }
    let told: Vec<_> = port.audit.entries().iter().map(|entry| (entry.who, entry.outcome)).collect();
    assert_eq!(told, [("anonymous", 401), ("anonymous", 401), ("anonymous", 401), ("operator", 200)]);
    tokens.replace_foreign(Role::Read, "");
    tokens.replace_foreign(Role::Operator, "");
    for body in [&*read, &*operator, "{}", "{\"token\":\"\"}"] {
        assert_eq!(ask("POST /told", body).await.status, 401, "{body}");
    }
}

#[tokio::test]
async fn without_tokens_nobody_changes_something() {
    let port = Port::start(Limits::default(), Tokens::default(), None).await;
    for (request, expected) in [("GET /shown", 200), ("POST /lanes/7", 200), ("POST /orders", 403)] {
        let answer = port.ask(&format!("{request} HTTP/1.1\r\nHost: localhost")).await;
        assert_eq!(answer.status, expected, "{request}");
    }
}

#[tokio::test]
async fn replaced_tokens_take_effect_at_once() {
    let tokens = tokens();
    let port = Port::start(Limits::default(), tokens.clone(), None).await;
    let with = async |token: &str| {
        port.ask(&format!("GET /shown HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}"))
            .await
            .status
    };
    assert_eq!(with(READ).await, 200);
    tokens.replace(Role::Read, "another-token-of-readers").unwrap();
    assert_eq!((with(READ).await, with("another-token-of-readers").await), (401, 200));
}

#[tokio::test]
async fn pages_of_other_sites_are_refused() {
    let open = Port::start(Limits::default(), Tokens::default(), None).await;
    assert_eq!(open.ask("GET /shown HTTP/1.1\r\nHost: localhost").await.status, 200);
    let rebound = open.ask("GET /shown HTTP/1.1\r\nHost: evil.example").await;
    assert_eq!(rebound.error(), (421, "unknown_host".to_owned()));
    let foreign = "Host: localhost\r\nOrigin: http://evil.example";
    for request in ["GET /shown", "GET /livez", "POST /lanes/7"] {
        let answer = open.ask(&format!("{request} HTTP/1.1\r\n{foreign}")).await;
        assert_eq!(answer.error(), (403, "foreign_origin".to_owned()), "{request}");
    }
    // A page that has learned a token, too.
    let port = Port::start(Limits::default(), tokens(), None).await;
    let with = format!("GET /shown HTTP/1.1\r\n{foreign}\r\nAuthorization: Bearer {READ}");
    assert_eq!(port.ask(&with).await.error(), (403, "foreign_origin".to_owned()));
}

#[tokio::test]
async fn actions_and_refusals_are_in_the_audit_log_and_reading_is_not() {
    let port = Port::start(Limits::default(), tokens(), None).await;
    let with = |request: &str, token: &str| {
        format!(
            "{request} HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: mine-7\r\nAuthorization: Bearer {token}"
        )
    };
    port.ask(&with("GET /shown", READ)).await;
    port.ask(&with("POST /lanes/7?to=9%0aforged", OPERATOR)).await;
    port.ask(&with("POST /lanes/8", READ)).await;
    port.ask(&with("GET /shown", "wrong-wrong-wrong-wrong")).await;
    let entries = port.audit.entries();
    let told: Vec<_> = entries.iter().map(|entry| (entry.who, entry.what.as_str(), entry.outcome)).collect();
    assert_eq!(
        told,
        [
            ("anonymous", "GET /shown", 401),
            ("read", "POST /lanes/8", 403),
            ("operator", "POST /lanes/7?to=9%0aforged", 200),
        ]
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.from == "127.0.0.1" && entry.request_id == "mine-7" && entry.at > 1e9)
    );
}

#[tokio::test]
async fn an_id_that_is_no_short_word_is_replaced() {
    let port = Port::start(Limits::default(), Tokens::default(), None).await;
    let id = async |given: &str| {
        let answer =
            port.ask(&format!("GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: {given}")).await;
        let mut lines = answer.head.lines().filter_map(|line| line.strip_prefix("x-request-id: "));
        lines.next().expect("an id").to_owned()
    };
    assert_eq!(id("abc-123_x.y").await, "abc-123_x.y");
    for given in ["", "a b", "<script>", &"x".repeat(65)] {
        assert_ne!(id(given).await, given);
    }
    assert_ne!(id("").await, id("").await);
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_slowed_down_and_a_probe_is_not() {
    let port = Port::start(Limits { per_second: 5, ..Limits::default() }, tokens(), None).await;
    let shown = "GET /shown HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer the-token-of-readers";
    let mut refused = 0;
    for _ in 0..40 {
        let answer = port.ask(shown).await;
        if answer.status == 429 {
            assert_eq!(answer.error().1, "too_many_requests");
            assert!(answer.head.contains("retry-after: 1"), "{}", answer.head);
            refused += 1;
        }
        assert_eq!(port.ask("GET /livez HTTP/1.1\r\nHost: localhost").await.status, 200);
    }
    assert!(refused > 10, "{refused} of 40");
    // Guesses count too, whatever they are.
    let guess = "GET /shown HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer guess-guess-guess-guess";
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(port.ask(guess).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn bodies_and_answers_have_their_limits() {
    let limits = Limits {
        body_bytes: 1_000,
        body_within: Duration::from_millis(200),
        answer_within: Duration::from_millis(200),
        ..Limits::default()
    };
    let port = Port::start(limits, Tokens::default(), None).await;
    let post = async |head: &str, body: &[u8]| {
        let head = format!("POST /lanes/7 HTTP/1.1\r\nHost: localhost\r\n{head}");
        let stream = TcpStream::connect(port.address).await.unwrap();
        timeout(Duration::from_secs(20), ask_on(stream, &head, body)).await.expect("answered in time")
    };
    assert_eq!(post("Content-Length: 1000", &[b'x'; 1_000]).await.body, "1000");
    assert_eq!(post("Content-Length: 1001", b"").await.error(), (413, "body_too_large".to_owned()));
    let chunked = format!("{:x}\r\n{}\r\n0\r\n\r\n", 1_001, "x".repeat(1_001));
    let chunked = post("Transfer-Encoding: chunked", chunked.as_bytes()).await;
    assert_eq!(chunked.error(), (413, "body_too_large".to_owned()));
    assert_eq!(post("Content-Length: 10", b"x").await.error(), (408, "body_too_slow".to_owned()));
    let slow = port.ask("GET /slow HTTP/1.1\r\nHost: localhost").await;
    assert_eq!(slow.error(), (503, "too_slow".to_owned()));
}

#[tokio::test]
async fn a_probe_is_answered_while_others_hold_all_connections() {
    let port = Port::start(Limits { connections: 4, ..Limits::default() }, tokens(), None).await;
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(TcpStream::connect(port.address).await.unwrap());
        assert_eq!(port.ask("GET /livez HTTP/1.1\r\nHost: localhost").await.status, 200);
    }
}

#[tokio::test]
async fn a_certificate_is_replaced_while_the_port_is_open() {
    let (one, other) = (Certificate::new(), Certificate::new());
    let tls = Tls::http(Pem::new(one.pem.as_bytes(), one.key.as_bytes())).unwrap();
    let port = Port::start(Limits::default(), Tokens::default(), Some(tls.clone())).await;
    let request = "GET /shown HTTP/1.1\r\nHost: localhost";
    let kept = one.connect(port.address).await.expect("trusted");
    assert!(other.connect(port.address).await.is_err());
    // Neither a bad certificate nor a key of another one changes anything.
    assert!(tls.replace(Pem::new(b"no PEM", one.key.as_bytes())).is_err());
    assert!(tls.replace(Pem::new(other.pem.as_bytes(), one.key.as_bytes())).is_err());
    assert!(one.connect(port.address).await.is_ok());
    tls.replace(Pem::new(other.pem.as_bytes(), other.key.as_bytes())).unwrap();
    assert!(one.connect(port.address).await.is_err());
    let stream = other.connect(port.address).await.expect("trusted");
    assert_eq!(ask_on(stream, request, b"").await.body, "shown");
    assert_eq!(ask_on(kept, request, b"").await.body, "shown");
    // Who speaks no TLS gets no answer, and disturbs nobody.
    let mut plain = TcpStream::connect(port.address).await.unwrap();
    plain.write_all(format!("{request}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stop_does_not_wait_for_a_client_that_never_ends_its_handshake() {
    let one = Certificate::new();
    let tls = Tls::http(Pem::new(one.pem.as_bytes(), one.key.as_bytes())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let serving = serve_http(listener, Router::new(), Limits::default(), Some(tls), stop.clone());
    let serving = tokio::spawn(serving);
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"\x16\x03\x01").await.unwrap();
    // This clock goes on only once every task waits: then the connection has been accepted.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let began = tokio::time::Instant::now();
    stop.cancel();
    serving.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
}

/// A self-signed certificate for `localhost`.
struct Certificate {
    pem: String,
    key: String,
    trusted: tokio_rustls::rustls::pki_types::CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Self { pem: made.cert.pem(), key: made.signing_key.serialize_pem(), trusted: made.cert.der().clone() }
    }

    /// A connection of a client that trusts this certificate alone.
    async fn connect(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider};
        let mut roots = RootCertStore::empty();
        roots.add(self.trusted.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = "localhost".try_into().unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}
