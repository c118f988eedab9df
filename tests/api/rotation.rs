//! The token: it switches the API on, is replaced at SIGHUP, and is never shown. And the rights that the API needs in Redis.

use std::net::SocketAddr;

use testkit::{RedisServer, contents::query, wait_until};

use crate::{
    client::{self, Scene, TOKEN, body, post, seed},
    common::{self, Process, SOON, run, with},
    refusals::REQUESTS,
};

fn port_of(process: &Process) -> SocketAddr {
    let log = process.log.borrow();
    let line = log.lines().find(|line| line.contains("endpoints are open")).expect("it told");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    line["read_api"].as_str().and_then(|text| text.parse().ok()).expect("an address")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_in_a_file_is_replaced_at_sighup_and_several_are_valid_at_once() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let write = |text: &str| std::fs::write(&file, text).expect("written");
    write("first-token-0123456789\n");
    let mut environment = client::environment(redis.addr());
    environment.remove("AUTH_READ_TOKEN");
    environment.insert("AUTH_READ_TOKEN_FILE".to_owned(), file.display().to_string());
    let process = Process::start(&environment).await;
    let port = port_of(&process);
    let status = async |token: &str| {
        let mut body = body(&[("epochID", 7)]);
        body["token"] = token.into();
        post(port, "/activeNodesCountByEpoch", &body).await.status
    };
    assert_eq!((status("first-token-0123456789").await, status("second-token-0123456789").await), (200, 401));
    write("first-token-0123456789\nsecond-token-0123456789\n");
    process.signal("HUP").await;
    wait_until("the second token opens", SOON, async || status("second-token-0123456789").await == 200).await;
    assert_eq!(status("first-token-0123456789").await, 200);
    write("second-token-0123456789\n");
    process.signal("HUP").await;
    wait_until("the first token is closed", SOON, async || status("first-token-0123456789").await == 401)
        .await;
    assert_eq!(status("second-token-0123456789").await, 200);
    // An empty file is refused with the whole configuration, and blanks serve nobody.
    write(" \n");
    process.signal("HUP").await;
    wait_until("nobody is served", SOON, async || status("second-token-0123456789").await == 401).await;
    assert_eq!((status("").await, status(" ").await), (401, 401));
    let log = process.log.borrow().clone();
    assert!(!log.contains("0123456789"), "{log}");
    assert!(!log.contains("takes effect with a restart"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_there_is_no_port_and_check_says_so() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut environment = client::environment(redis.addr());
    let (_, text, _) = run(&environment, &["check"]).await;
    assert!(text.contains("read API   runs: serves 127.0.0.1:0"), "{text}");
    assert!(text.contains("note: the read API asks no contract") && !text.contains(TOKEN), "{text}");
    environment.insert("AUTH_READ_TOKEN".to_owned(), "short".to_owned());
    environment.insert("STATE_TRACKER__API__ADDRESS".to_owned(), "0.0.0.0:0".to_owned());
    let (_, text, _) = run(&environment, &["check"]).await;
    assert!(text.contains("note: api.read_token (AUTH_READ_TOKEN) has fewer than 16 characters"), "{text}");
    assert!(text.contains("note: api.address: 0.0.0.0:0 can be reached from other machines"), "{text}");
    environment.remove("AUTH_READ_TOKEN");
    let (_, text, _) = run(&environment, &["check"]).await;
    let off = "read API   does not run: api.read_token (AUTH_READ_TOKEN) is not set";
    assert!(text.contains(off) && !text.contains("note: api"), "{text}");
    let service = common::service(&environment).await;
    assert!(service.api().is_none());
    assert!(service.tree().health().iter().all(|actor| actor.path != "read-api"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_is_taken_or_no_address_of_a_market_ends_the_start_with_what_to_set() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = held.local_addr().expect("an address").to_string();
    let environment = client::environment(redis.addr());
    let (code, _, told) = run(&with(&environment, &[("STATE_TRACKER__API__ADDRESS", &address)]), &[]).await;
    assert!(
        code != Some(0) && told.contains("for the read API") && told.contains("set the port of api.address"),
        "{told}"
    );
    for (settings, expected) in [
        (("DATA_MARKET_ADDRESSES", "a-name"), "tracker.markets"),
        (("STATE_TRACKER__API__ADDRESS", "127.0.0.1:9094"), "api.address"),
        (("API_HOST", "a b"), "api.public_host"),
        (("STATE_TRACKER__API__CERT_FILE", "/nowhere/cert.pem"), "api.cert_file"),
    ] {
        let metrics = ("STATE_TRACKER_METRICS_PORT", "9094");
        let (code, _, told) = run(&with(&environment, &[metrics, settings]), &["check"]).await;
        assert!(code == Some(78) && told.contains(expected) && !told.contains(TOKEN), "{expected}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_the_doctor_prints_are_enough_for_every_path() {
    let mut scene = Scene::new().await;
    seed(&mut scene).await;
    let login = [("REDIS_USERNAME", "reader"), ("REDIS_PASSWORD", "secret")];
    let environment = with(&client::environment(scene.redis.addr()), &login);
    let (code, command, notes) = run(&environment, &["doctor", "--acl"]).await;
    assert_eq!(code, Some(0), "{notes}");
    let mut words: Vec<&str> = command.split_whitespace().collect();
    words.push(">secret");
    scene.run(&words).await;
    let service = common::service(&environment).await;
    let port = service.api().expect("it has a token").address();
    for (path, request) in REQUESTS {
        assert_eq!(post(port, path, &body(request)).await.status, 200, "{path}");
        let detailed = format!("{path}?includeSlotDetails=true");
        assert_eq!(post(port, &detailed, &body(request)).await.status, 200, "{detailed}");
    }
    // Without the right to one family of keys its path fails, and no other.
    let market = client::MARKET;
    let pattern = format!("%R~ActiveSnapshottersForEpoch.{market}.*");
    let less: Vec<&str> = words.iter().copied().filter(|word| *word != pattern).collect();
    assert_eq!(less.len() + 1, words.len(), "{command}");
    scene.run(&less).await;
    let mut refused = Vec::new();
    for (path, request) in REQUESTS {
        if post(port, path, &body(request)).await.status != 200 {
            refused.push(*path);
        }
    }
    assert_eq!(refused, ["/activeNodesCountByEpoch"]);
    let _: String = query(&mut scene.connection, &["PING"]).await;
}
