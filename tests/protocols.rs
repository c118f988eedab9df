//! Addresses where something else speaks than the configuration says: `doctor` and `check --connect` name what is there, and the
//! setting to correct.

#![allow(clippy::expect_used)] // A test that can not go on panics.

mod common;

use std::{collections::BTreeMap, net::SocketAddr};

use common::{MARKETS, SOON, environment, run};
use serde_json::Value;
use testkit::{Authority, RedisServer, Sentinels, TlsFront};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    process::Command,
};

type Environment = BTreeMap<String, String>;

/// What a command says: on standard output, or else on standard error.
async fn said_by(environment: &Environment, arguments: &[&str]) -> (Option<i32>, String) {
    let (code, output, errors) = run(environment, arguments).await;
    (code, if output.is_empty() { errors } else { output })
}

fn at(server: SocketAddr, settings: &[(&str, String)]) -> Environment {
    let own = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let market = ("DATA_MARKET_ADDRESSES".to_owned(), MARKETS[0].to_owned());
    environment(server).into_iter().chain([market]).chain(own).collect()
}

/// A server that answers every request as a web server does.
async fn web_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { return };
            tokio::spawn(async move {
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_speaks_at_an_address_is_named_with_the_setting_to_correct() {
    let plain = RedisServer::start().await.expect("a Redis server");
    let identity = Authority::new("ours").expect("an authority").server().expect("a certificate");
    let tls = TlsFront::start(&identity, plain.addr()).await.expect("a server with TLS");
    let sentinels = Sentinels::start(None, None).await.expect("a sentinel");
    let sentinel = sentinels.addrs()[0];
    let (web, yes) = (web_server().await, [("REDIS_TLS", "true".to_owned())]);
    let secure_web = TlsFront::start(&identity, web).await.expect("a web server with TLS");
    let as_sentinel = |server: SocketAddr| {
        let settings = [
            ("REDIS_SENTINELS", server.to_string()),
            ("REDIS_SENTINEL_MASTER", Sentinels::MASTER.to_owned()),
        ];
        let both = at(server, &settings).into_iter();
        both.filter(|(name, _)| name != "REDIS_HOST" && name != "REDIS_PORT").collect::<Environment>()
    };
    for (environment, server, found, remedy) in [
        (
            at(tls.addr(), &[]),
            tls.addr(),
            "a server that expects TLS answers",
            "set redis.tls to true (REDIS_TLS)",
        ),
        (
            at(plain.addr(), &yes),
            plain.addr(),
            "a server without TLS answers",
            "set redis.tls to false (REDIS_TLS)",
        ),
        (
            at(sentinel, &[]),
            sentinel,
            "a sentinel, which holds no keys, answers",
            "name it in redis.sentinels",
        ),
        (
            at(sentinel, &yes),
            sentinel,
            "a sentinel, which holds no keys, answers",
            "name it in redis.sentinels",
        ),
        (at(web, &[]), web, "a web server (HTTP) answers", "correct redis.host and redis.port"),
        (at(web, &yes), web, "a web server (HTTP) answers", "correct redis.host and redis.port"),
        (
            at(secure_web.addr(), &[]),
            secure_web.addr(),
            "a server that expects TLS answers",
            "redis.tls to true",
        ),
        (
            as_sentinel(plain.addr()),
            plain.addr(),
            "a Redis server, and no sentinel, answers",
            "the sentinels' port",
        ),
        (as_sentinel(tls.addr()), tls.addr(), "a server that expects TLS answers", "redis.tls to true"),
    ] {
        let (code, report) = said_by(&environment, &["doctor", "--json"]).await;
        let report: Value = serde_json::from_str(&report).unwrap_or_else(|_| panic!("{server}: {report}"));
        let findings = report["findings"].as_array().expect("a list");
        let finding = findings.iter().find(|finding| finding["check"] == "protocol");
        let finding = finding.unwrap_or_else(|| panic!("{server}: {report:#}"));
        let text = |name: &str| finding[name].as_str().expect("a text").to_owned();
        assert_eq!((code, text("object")), (Some(4), server.to_string()));
        assert!(text("problem").contains(found), "{found}: {report:#}");
        assert!(text("remedy").contains(remedy), "{remedy}: {report:#}");
        let (code, said) = said_by(&environment, &["check", "--connect"]).await;
        let line = said.lines().find(|line| line.starts_with("failed")).unwrap_or_default();
        assert!(code == Some(1) && line.contains(&format!("redis {server}")), "{server}: {said}");
        assert!(line.contains(found) && line.contains(remedy), "{server}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_the_right_protocol_has_its_own_error() {
    let redis = RedisServer::start().await.expect("a Redis server");
    let wrong = at(redis.addr(), &[("REDIS_PASSWORD", "wrong".to_owned())]);
    let (code, said) = said_by(&wrong, &["doctor"]).await;
    assert!(
        code == Some(1) && said.contains("redis.password") && !said.contains("expects"),
        "{code:?} {said}"
    );
    // Nothing listens here.
    let nowhere = at(SocketAddr::from(([127, 0, 0, 1], common::free_port().await)), &[]);
    let (code, said) = said_by(&nowhere, &["doctor"]).await;
    assert!(code == Some(1) && said.contains("unavailable") && !said.contains("expects"), "{code:?} {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_the_service_names_the_settings_too() {
    let sentinels = Sentinels::start(None, None).await.expect("a sentinel");
    let web = web_server().await;
    for (server, remedy) in [
        (sentinels.addrs()[0], "name the sentinel in redis.sentinels"),
        (web, "check that a Redis server is at this address"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_state-tracker"));
        command.env_clear().envs(at(server, &[])).kill_on_drop(true);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped());
        let mut service = command.spawn().expect("it runs");
        let mut log = service.stderr.take().expect("a log");
        let (mut read, mut page) = (String::new(), [0; 4096]);
        let finding = async {
            while !read.contains(remedy) {
                let size = log.read(&mut page).await.expect("read");
                assert!(size > 0, "it ended: {read}");
                read.push_str(&String::from_utf8_lossy(&page[..size]));
            }
        };
        let found = tokio::time::timeout(SOON, finding).await;
        assert!(found.is_ok(), "{server}: {read}");
        service.kill().await.expect("killed");
    }
}
