//! The operators' port of the real program: tokens and certificate that are replaced while it runs, and pages of other sites.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{net::SocketAddr, path::Path};

use common::{Process, SOON, ask, environment, free_port};
use serde_json::Value;
use testkit::{RedisServer, wait_until};
use tokio::{net::TcpStream, process::Command};

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
