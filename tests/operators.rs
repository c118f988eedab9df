//! The ports of the real program: tokens and certificate that are replaced while it runs, and pages of other sites.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{net::SocketAddr, path::Path};

use common::{Process, SOON, ask, environment, free_port};
use http_server::{ConnectError, connect};
use serde_json::Value;
use testkit::{Authority, RedisServer, Tls, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
};

async fn with(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
    ask(address, path, &["Host: localhost", &format!("Authorization: Bearer {token}")]).await
}

fn write(file: &Path, token: &str) {
    std::fs::write(file, format!("# a token a line\n{token}\n")).expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_asked_for_and_follow_their_files_without_a_restart() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let [readers, operators] = ["readers", "operators"].map(|name| folder.path().join(name));
    write(&readers, "reader-one-0123456789");
    write(&operators, "operator-one-0123456789");
    let mut environment = environment(redis.addr());
    for (name, file) in [("READ", &readers), ("OPERATOR", &operators)] {
        let name = format!("STATE_TRACKER__HTTP__{name}_TOKEN_FILE");
        environment.insert(name, file.display().to_string());
    }
    let process = Process::start(&environment).await;
    let port = process.operator;
    assert_eq!(ask(port, "/livez", &["Host: localhost"]).await, (200, "ok\n".to_owned()));
    for path in ["/health", "/crashes", "/dead-letters", "/audit", "/nothing"] {
        let (status, body) = ask(port, path, &["Host: localhost"]).await;
        let error: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &error["error"]), (401, &"unauthorized".into()), "{path}");
    }
    assert_eq!(with(port, "/health", "reader-one-0123456789").await.0, 200);
    assert_eq!(with(port, "/audit", "reader-one-0123456789").await.0, 403);
    let audit = with(port, "/audit", "operator-one-0123456789").await.1;
    let audit: Vec<Value> = serde_json::from_str(&audit).expect("JSON");
    let told = |entry: &Value| (entry["who"].clone(), entry["what"].clone(), entry["outcome"].clone());
    assert_eq!(told(&audit[0]), ("read".into(), "GET /audit".into(), 403.into()));
    assert_eq!(told(&audit[1]), ("anonymous".into(), "GET /nothing".into(), 401.into()));

    write(&readers, "reader-two-0123456789");
    process.signal("HUP").await;
    wait_until("the new token opens", SOON, async || {
        with(port, "/health", "reader-two-0123456789").await.0 == 200
    })
    .await;
    assert_eq!(with(port, "/health", "reader-one-0123456789").await.0, 401);
    // A file that is torn while it is replaced, or emptied by mistake, closes nobody out and opens nothing.
    write(&readers, "short");
    process.signal("HUP").await;
    let mut log = process.log.clone();
    let told = |log: &String| log.contains("http.read_token_file: line 2 is no token");
    let is_told = tokio::time::timeout(SOON, log.wait_for(told)).await.is_ok();
    assert!(is_told, "{}", *process.log.borrow());
    assert_eq!(with(port, "/health", "reader-two-0123456789").await.0, 200);
    // Without a signal, too.
    write(&readers, "reader-three-0123456789");
    wait_until("the newest token opens", SOON, async || {
        with(port, "/health", "reader-three-0123456789").await.0 == 200
    })
    .await;
    let log = process.log.borrow().clone();
    assert!(log.contains("audit") && !log.contains("0123456789"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_reads_nothing_and_probes_of_the_metrics_port_need_no_name() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let process = Process::start(&environment(redis.addr())).await;
    for path in ["/health", "/crashes", "/dead-letters", "/audit", "/livez"] {
        assert_eq!(ask(process.operator, path, &["Host: evil.example:9095"]).await.0, 421, "{path}");
        let page = ask(process.operator, path, &["Host: localhost", "Origin: http://evil.example"]).await;
        assert_eq!(page.0, 403, "{path}");
    }
    assert_eq!(ask(process.operator, "/health", &["Host: localhost"]).await.0, 200);
    assert_eq!(ask(process.metrics, "/metrics", &["Host: state-tracker.monitoring.svc"]).await.0, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_few_file_descriptors_probes_are_answered_while_strangers_hold_connections() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = environment(redis.addr());
    let [metrics, operator] =
        [free_port().await, free_port().await].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    environment.insert("STATE_TRACKER_METRICS_PORT".to_owned(), metrics.port().to_string());
    environment.insert("STATE_TRACKER__HTTP__OPERATOR_ADDRESS".to_owned(), operator.to_string());
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\"", env!("CARGO_BIN_EXE_state-tracker")])
        .env_clear()
        .envs(&environment)
        .stderr(std::fs::File::create(&log).expect("a file"))
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let is_alive = async |address| match TcpStream::connect(address).await {
        Ok(_) => ask(address, "/livez", &["Host: localhost"]).await.0 == 200,
        Err(_) => false,
    };
    wait_until("it answers", SOON, async || is_alive(metrics).await && is_alive(operator).await).await;
    let mut held = Vec::new();
    for _ in 0..50 {
        for address in [metrics, operator] {
            held.push(TcpStream::connect(address).await.expect("it listens"));
        }
        for address in [metrics, operator] {
            let answer = ask(address, "/livez", &["Host: localhost"]);
            let answer = tokio::time::timeout(SOON, answer).await.expect("answered in time");
            assert_eq!(answer.0, 200);
        }
    }
    wait_until("it is ready too", SOON, async || {
        ask(metrics, "/readyz", &["Host: localhost"]).await.0 == 200
    })
    .await;
    let log = std::fs::read_to_string(&log).expect("a log");
    assert!(log.matches("could not be accepted").count() <= 1, "{log}");
    child.kill().await.expect("it ends");
}

/// A certificate that names an address of this machine.
fn identity() -> Tls {
    Authority::new("ours").expect("made").server().expect("made")
}

/// A GET by TLS of a client that trusts this certificate alone; `None` if the port shows another one.
async fn ask_by_tls(address: SocketAddr, path: &str, identity: &Tls) -> Option<String> {
    let stream = TcpStream::connect(address).await.expect("it listens");
    let mut stream = match connect(stream, identity.certificate.as_bytes()).await {
        Ok(stream) => stream,
        Err(ConnectError::OtherCertificate) => return None,
        Err(error) => panic!("{error}"),
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    Some(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ports_speak_tls_alone_with_a_certificate_that_follows_its_files() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name));
    let (first, second) = (identity(), identity());
    let write = |file: &Path, text: &str| std::fs::write(file, text).expect("written");
    write(&cert, &first.certificate);
    write(&key, &first.key);
    let mut environment = environment(redis.addr());
    for (name, value) in [
        ("CERT_FILE", cert.display().to_string()),
        ("KEY_FILE", key.display().to_string()),
        ("METRICS_TLS", "true".to_owned()),
    ] {
        environment.insert(format!("STATE_TRACKER__HTTP__{name}"), value);
    }
    let process = Process::start(&environment).await;
    let ports = [process.metrics, process.operator];
    for (port, path) in [(ports[0], "/metrics"), (ports[1], "/health")] {
        let answer = ask_by_tls(port, path, &first).await.expect("trusted");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let mut plain = TcpStream::connect(port).await.expect("it listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        plain.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer).await;
        assert!(answer.len() < 16 && !answer.starts_with(b"HTTP"), "{answer:?}");
    }
    // A certificate that is half written, whole without its key, and one with a torn authority behind it: the former one stays.
    let half = &second.certificate[..second.certificate.len() / 2];
    let torn = format!("{}{}", second.certificate, &second.authority[..second.authority.len() / 2]);
    for (part, told) in [
        (half, "the certificate is no PEM"),
        (&*second.certificate, "certificate and key can't be used together"),
        ("", "no certificate in PEM form"),
        (&*torn, "the certificate is no PEM"),
    ] {
        let before = process.log.borrow().len();
        write(&cert, part);
        let mut log = process.log.clone();
        let is_told =
            tokio::time::timeout(SOON, log.wait_for(|log| log[before..].contains(told))).await.is_ok();
        assert!(is_told, "{told}: {}", *process.log.borrow());
        for port in ports {
            assert!(ask_by_tls(port, "/livez", &first).await.is_some(), "{told}");
        }
    }
    // Without a signal.
    write(&cert, &second.certificate);
    write(&key, &second.key);
    for port in ports {
        wait_until("it shows the new certificate", SOON, async || {
            ask_by_tls(port, "/livez", &second).await.is_some()
        })
        .await;
        assert!(ask_by_tls(port, "/livez", &first).await.is_none());
    }
    let log = process.log.borrow().clone();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_hidden_where_clients_show_them_also_new_ones() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let operators = folder.path().join("operators");
    write(&operators, "operator-one-0123456789");
    let mut environment = environment(redis.addr());
    let file = operators.display().to_string();
    environment.insert("STATE_TRACKER__HTTP__OPERATOR_TOKEN_FILE".to_owned(), file);
    let process = Process::start(&environment).await;
    // In the query, where a client has put it by mistake, and there it opens nothing.
    let misplaced = async |token: &str| {
        let status = ask(process.operator, &format!("/health?token={token}"), &["Host: localhost"]).await.0;
        assert_eq!(status, 401);
    };
    misplaced("operator-one-0123456789").await;
    write(&operators, "operator-two-0123456789");
    let mut log = process.log.clone();
    let is_read = |log: &String| log.contains("are those of their files again");
    assert!(tokio::time::timeout(SOON, log.wait_for(is_read)).await.is_ok(), "{}", *process.log.borrow());
    misplaced("operator-two-0123456789").await;
    let audit = with(process.operator, "/audit", "operator-two-0123456789").await.1;
    assert_eq!(audit.matches("GET /health?token=***").count(), 2, "{audit}");
    let told = |log: &String| log.matches("GET /health?token=***").count() == 2;
    let mut log = process.log.clone();
    let is_told = tokio::time::timeout(SOON, log.wait_for(told)).await.is_ok();
    let log = process.log.borrow().clone();
    assert!(is_told && !log.contains("0123456789") && !audit.contains("0123456789"), "{log}\n{audit}");
}
