//! Tests of both servers over real connections, with a small client.

use std::sync::Mutex;

use serde_json::Value;
use supervision::{Activity, ActorHealth, Crash, DeadLetter, ExitKind, Failure, State};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::outbox::OutboxDesk;

/// Vitals that a test sets.
struct Fixed {
    conditions: Mutex<Vec<Condition>>,
    notes: Vec<String>,
    actors: Vec<ActorHealth>,
    metrics: Result<&'static str, &'static str>,
}

impl Default for Fixed {
    fn default() -> Self {
        let (conditions, notes) = Default::default();
        Self { conditions, notes, actors: vec![actor("listener")], metrics: Ok("up 1\n") }
    }
}

impl Fixed {
    fn set(&self, conditions: impl Into<Vec<Condition>>) {
        *self.conditions.lock().unwrap() = conditions.into();
    }
}

impl Vitals for Fixed {
    fn conditions(&self) -> Vec<Condition> {
        self.conditions.lock().unwrap().clone()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn actors(&self) -> Vec<ActorHealth> {
        self.actors.clone()
    }

    fn outbox(&self) -> Option<OutboxDesk> {
        None
    }

    fn dead_letters(&self) -> Vec<DeadLetter> {
        vec![DeadLetter {
            mailbox: "listener".to_owned(),
            sequence: 7,
            attempts: 2,
            reason: "it panicked".to_owned(),
            written_at: Duration::ZERO,
            message: serde_json::json!({ "epoch": 1 }),
        }]
    }

    fn crashes(&self, actor: &str) -> Vec<Crash> {
        let crash = Crash {
            id: 1,
            at: 1_000.5,
            generation: 1,
            kind: ExitKind::Panicked,
            message: "boom".to_owned(),
            location: None,
            backtrace: Some("0: main".to_owned()),
        };
        if actor == "markets/0xa b" { vec![crash] } else { vec![] }
    }

    fn metrics(&self) -> Result<String, Failure> {
        self.metrics.map(str::to_owned).map_err(Failure::from)
    }
}

fn actor(path: &str) -> ActorHealth {
    ActorHealth {
        path: path.to_owned(),
        supervisor: false,
        state: State::Running,
        degraded: false,
        generation: 1,
        exits: [0, 0, 2, 0, 1, 0, 0, 0],
        last_crash: None,
        activity: Activity::Idle,
        wedged: false,
        quiet: Duration::ZERO,
        mailbox: None,
    }
}

const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

async fn servers(vitals: Fixed) -> (HttpServers, Arc<Fixed>) {
    servers_with(Limits::default(), vitals).await
}

async fn servers_with(limits: Limits, vitals: Fixed) -> (HttpServers, Arc<Fixed>) {
    let vitals = Arc::new(vitals);
    let servers = HttpServers::bind_with(limits, ANY, ANY, Security::default(), vitals.clone()).await;
    (servers.expect("any free port will do"), vitals)
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

async fn ask(address: SocketAddr, method: &str, target: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the server reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the server answers in UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

async fn get(address: SocketAddr, target: &str) -> Answer {
    ask(address, "GET", target).await
}

/// A connection that was answered once and then stays open.
async fn idle_connection(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the server reads");
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).await.expect("the server answers");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    stream
}

#[tokio::test]
async fn readiness_follows_the_conditions_and_names_what_is_missing() {
    let (servers, vitals) = servers(Fixed::default()).await;
    let address = servers.metrics_address();
    vitals.set([Condition::new("redis", true, "answers"), Condition::new("subscription", false, "not\nyet")]);
    let waiting = get(address, "/readyz").await;
    assert_eq!((waiting.status, &*waiting.body), (503, "not ok: subscription: not yet\nnot ready\n"));
    let verbose = get(address, "/readyz?verbose").await;
    assert_eq!(verbose.status, 503);
    assert_eq!(verbose.body, "ok: redis: answers\nnot ok: subscription: not yet\nnot ready\n");
    assert_eq!(get(address, "/livez").await.status, 200, "waiting is no reason for a restart");

    let evil = "\x1b[2J\u{9b}";
    vitals.set([Condition::new("redis", false, evil)]);
    let escaped = "not ok: redis: \\u{1b}[2J\\u{9b}\nnot ready\n";
    assert_eq!(get(address, "/readyz").await.body, escaped);

    vitals.set([Condition::new("redis", true, "answers"), Condition::new("subscription", true, "")]);
    let ready = get(address, "/readyz").await;
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    assert_eq!(get(address, "/readyz?verbose=1").await.body, "ok: redis: answers\nok: subscription\nready\n");
}

#[tokio::test]
async fn notes_are_shown_on_request_and_change_no_status() {
    let (servers, vitals) =
        servers(Fixed { notes: vec!["no\x1b[2J key".to_owned()], ..Fixed::default() }).await;
    vitals.set([Condition::new("redis", true, "")]);
    let ready = get(servers.metrics_address(), "/readyz").await;
    assert_eq!((ready.status, &*ready.body), (200, "ready\n"));
    let verbose = get(servers.metrics_address(), "/readyz?verbose").await;
    assert_eq!((verbose.status, &*verbose.body), (200, "ok: redis\nnote: no\\u{1b}[2J key\nready\n"));
    let health = get(servers.operator_address(), "/health").await.json();
    assert_eq!((&health["status"], &health["notes"][0]), (&"ready".into(), &"no\x1b[2J key".into()));
}

#[tokio::test]
async fn metrics_come_with_the_content_type_that_prometheus_expects() {
    let (servers, _) = servers(Fixed::default()).await;
    let metrics = get(servers.metrics_address(), "/metrics").await;
    assert_eq!((metrics.status, &*metrics.body), (200, "up 1\n"));
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
}

#[tokio::test]
async fn metrics_that_cannot_be_collected_are_an_error_and_not_empty() {
    let (servers, _) = servers(Fixed { metrics: Err("collecting failed"), ..Fixed::default() }).await;
    let metrics = get(servers.metrics_address(), "/metrics").await;
    assert_eq!(
        (metrics.status, metrics.json()["message"].as_str().unwrap_or_default()),
        (500, "collecting failed")
    );
    assert_eq!(get(servers.metrics_address(), "/livez").await.body, "ok\n");
}

#[tokio::test]
async fn health_is_the_tree_as_json() {
    let (servers, vitals) = servers(Fixed::default()).await;
    vitals.set([Condition::new("redis", true, "answers")]);
    let answer = get(servers.operator_address(), "/health").await;
    let health = answer.json();
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(health["status"], "ready");
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    assert!(health["uptime_seconds"].as_f64().is_some_and(|uptime| uptime >= 0.0));
    assert_eq!(health["actors"][0]["path"], "listener");
    assert_eq!(health["actors"][0]["state"], "running");
    let exits = serde_json::json!({
        "finished": 0, "stopped": 0, "failed": 2, "unavailable": 0, "panicked": 1, "stalled": 0, "killed": 0, "sibling": 0,
    });
    assert_eq!(health["actors"][0]["exits"], exits);
    assert_eq!(
        health["conditions"][0],
        serde_json::json!({ "name": "redis", "ok": true, "detail": "answers" })
    );

    vitals.set([Condition::new("redis", false, "refused")]);
    assert_eq!(get(servers.operator_address(), "/health").await.json()["status"], "waiting");
}

#[tokio::test]
async fn an_actor_in_trouble_makes_the_status_degraded() {
    for troubled in [
        ActorHealth { degraded: true, ..actor("a") },
        ActorHealth { wedged: true, ..actor("a") },
        ActorHealth { state: State::Abandoned, ..actor("a") },
    ] {
        let (servers, _) = servers(Fixed { actors: vec![actor("b"), troubled], ..Fixed::default() }).await;
        assert_eq!(get(servers.operator_address(), "/health").await.json()["status"], "degraded");
    }
}

#[tokio::test]
async fn dead_letters_and_crashes_are_shown_in_full() {
    let (servers, _) = servers(Fixed::default()).await;
    let address = servers.operator_address();
    let letters = get(address, "/dead-letters").await.json();
    assert_eq!((&letters[0]["sequence"], &letters[0]["message"]["epoch"]), (&7.into(), &1.into()));
    let crashes = get(address, "/crashes?actor=markets/0xa%20b").await.json();
    assert_eq!((&crashes[0]["message"], &crashes[0]["backtrace"]), (&"boom".into(), &"0: main".into()));
    assert_eq!(get(address, "/crashes?actor=listener").await.json(), serde_json::json!([]));
    for (target, status) in [("/crashes", 400), ("/crashes?actor=nobody", 404)] {
        let answer = get(address, target).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.json()["choices"], serde_json::json!(["listener"]));
    }
}

#[tokio::test]
async fn an_unknown_path_lists_the_paths_of_its_server() {
    let (servers, _) = servers(Fixed::default()).await;
    let (metrics, operator) = (servers.metrics_address(), servers.operator_address());
    for (address, target, known) in [
        (metrics, "/", &["/metrics", "/livez", "/readyz?verbose"][..]),
        (metrics, "/health", &["/metrics", "/livez", "/readyz?verbose"]),
        (
            operator,
            "/metrics",
            &[
                "/health",
                "/dead-letters",
                "/crashes?actor=PATH",
                "/audit",
                "/outbox",
                "/outbox/calls?market=ADDRESS&stage=waiting&from=ID&count=20",
                "/outbox/audit?count=20",
                "/outbox/orders",
                "/livez",
            ],
        ),
    ] {
        let answer = get(address, target).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.json()["choices"], serde_json::json!(known));
    }
}

#[tokio::test]
async fn only_reading_is_possible() {
    let (servers, _) = servers(Fixed::default()).await;
    for (address, path) in [(servers.metrics_address(), "/metrics"), (servers.operator_address(), "/health")]
    {
        let head = ask(address, "HEAD", path).await;
        assert_eq!((head.status, &*head.body), (200, ""));
        assert_eq!(head.header("content-type"), get(address, path).await.header("content-type"));
        for method in ["POST", "PUT", "DELETE"] {
            let refused = ask(address, method, path).await;
            assert_eq!((refused.status, refused.header("allow")), (405, Some("GET,HEAD")), "{method} {path}");
        }
    }
}

#[tokio::test]
async fn an_idle_connection_does_not_hold_up_the_stop() {
    let (servers, _) = servers(Fixed::default()).await;
    let address = servers.metrics_address();
    let (mut answered, mut silent) =
        (idle_connection(address).await, TcpStream::connect(address).await.expect("the server listens"));
    let _ = idle_connection(address).await;
    let began = Instant::now();
    servers.stop().await;
    assert!(began.elapsed() < STOP_WITHIN, "not by aborting, after {:?}", began.elapsed());
    for stream in [&mut answered, &mut silent] {
        assert!(matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)), "the connection is closed");
    }
    assert!(TcpStream::connect(address).await.is_err(), "nothing listens any more");
}

#[tokio::test]
async fn dropping_the_servers_frees_their_ports() {
    let (servers, vitals) = servers(Fixed::default()).await;
    let address = servers.metrics_address();
    drop(servers);
    timeout(Duration::from_secs(5), async {
        while HttpServers::bind(address, ANY, Security::default(), vitals.clone()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the port is free again");
}

#[tokio::test]
async fn clients_that_hold_connections_do_not_block_others() {
    let (servers, _) = servers(Fixed::default()).await;
    let address = servers.metrics_address();
    let mut held = Vec::new();
    for _ in 0..2 * Limits::default().connections {
        held.push(TcpStream::connect(address).await.expect("the server listens"));
    }
    assert_eq!(get(address, "/livez").await.status, 200);
    // Sooner than it would be closed for being silent.
    let mut closed = [0; 16];
    let closed = timeout(Limits::default().head_within / 2, held[0].read(&mut closed)).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "the oldest made room");
}

#[tokio::test]
async fn an_endless_request_is_cut_off() {
    let (servers, _) = servers(Fixed::default()).await;
    let address = servers.metrics_address();
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("the server reads");
    let sent = timeout(Duration::from_secs(5), async {
        let mut sent = 0;
        while stream.write_all(&[b'a'; 1024]).await.is_ok() {
            sent += 1024;
            tokio::task::yield_now().await;
        }
        sent
    });
    let sent = sent.await.expect("the server stops reading and closes");
    assert!(sent >= Limits::default().head_bytes / 2, "cut off after {sent} bytes");
    assert_eq!(get(address, "/livez").await.status, 200);
}

#[tokio::test]
async fn slow_and_idle_connections_are_closed_after_their_time() {
    let limits = Limits { head_within: Duration::from_millis(100), ..Limits::default() };
    let (servers, _) = servers_with(limits, Fixed::default()).await;
    let address = servers.metrics_address();
    let idle = idle_connection(address).await;
    let silent = TcpStream::connect(address).await.expect("the server listens");
    let mut slow = TcpStream::connect(address).await.expect("the server listens");
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost:").await.expect("the server reads");
    for (name, mut stream) in [("idle", idle), ("silent", silent), ("slow", slow)] {
        let mut rest = Vec::new();
        let closed = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "the {name} connection is closed");
        assert!(!rest.starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let limits = Limits { life: Duration::from_millis(100), ..Limits::default() };
    let big = Box::leak("x".repeat(64 << 20).into_boxed_str());
    let (servers, _) = servers_with(limits, Fixed { metrics: Ok(big), ..Fixed::default() }).await;
    let mut stream = TcpStream::connect(servers.metrics_address()).await.expect("the server listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the server reads");
    // Longer than its life and the moment to finish together.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < big.len(), "the server went on for {} bytes", answer.len());
}

#[tokio::test]
async fn a_body_is_not_waited_for() {
    let (servers, _) = servers(Fixed::default()).await;
    let mut stream = TcpStream::connect(servers.metrics_address()).await.expect("the server listens");
    let request = b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n";
    stream.write_all(request).await.expect("the server reads");
    let mut answer = String::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_string(&mut answer)).await;
    assert!(read.is_ok_and(|read| read.is_ok()), "the server answers and closes");
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_taken_port_is_named_with_what_to_set() {
    let (servers, vitals) = servers(Fixed::default()).await;
    let taken = servers.metrics_address();
    let refused = HttpServers::bind(taken, ANY, Security::default(), vitals.clone())
        .await
        .err()
        .expect("the port is taken");
    assert_eq!((refused.server, refused.address), (Server::Metrics, taken));
    let text = refused.to_string();
    assert!(text.starts_with(&format!("can't listen on {taken} for metrics and probes; another process")));
    assert!(text.contains("set http.metrics_port (STATE_TRACKER_METRICS_PORT) to a free port"), "{text}");
    let refused =
        HttpServers::bind(ANY, taken, Security::default(), vitals).await.err().expect("the port is taken");
    assert!(refused.to_string().contains("set the port of http.operator_address to a free port"));
}

#[tokio::test]
async fn an_address_of_another_machine_is_named_with_what_to_set() {
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 0));
    let refused = HttpServers::bind(elsewhere, ANY, Security::default(), Arc::new(Fixed::default())).await;
    let text = refused.err().expect("the address is for documentation").to_string();
    assert!(text.contains("this machine has no such address: set http.host to 0.0.0.0"), "{text}");
}
