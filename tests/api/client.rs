//! A service with a read API, and a small client of it.

use std::{collections::BTreeMap, net::SocketAddr};

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use state_tracker::service::Service;
use testkit::{RedisServer, contents::query};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::common::{self, MARKETS};

pub(crate) const TOKEN: &str = "the-token-of-readers";
/// The first market, as keys spell it.
pub(crate) const MARKET: &str = "0x0c2e22fe7526faef28e7a58c84f8723defce200c";

/// Numbers of a request.
pub(crate) type Fields = &'static [(&'static str, i64)];

/// The environment of a service with a read API.
pub(crate) fn environment(redis: SocketAddr) -> BTreeMap<String, String> {
    with_api(common::environment(redis))
}

/// The same environment with a read API.
pub(crate) fn with_api(environment: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let own = [("AUTH_READ_TOKEN", TOKEN), ("STATE_TRACKER__API__ADDRESS", "127.0.0.1:0")];
    common::with(&environment, &own)
}

/// A service with its Redis.
pub(crate) struct Scene {
    pub(crate) redis: RedisServer,
    pub(crate) connection: MultiplexedConnection,
    pub(crate) service: Service,
    pub(crate) port: SocketAddr,
}

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::builder().append_only(true).start().await.expect("a Redis server");
        let service = common::service(&common::with(&environment(redis.addr()), settings)).await;
        let connection = redis.connection().await.expect("a connection");
        let port = service.api().expect("it has a token").address();
        Self { redis, connection, service, port }
    }

    /// Runs a command in Redis.
    pub(crate) async fn run(&mut self, words: &[&str]) {
        let _: redis::Value = query(&mut self.connection, words).await;
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        post(self.port, path, body).await
    }
}

/// A body with the right token and the first market.
pub(crate) fn body(more: &[(&str, i64)]) -> Value {
    let mut body = json!({ "token": TOKEN, "dataMarketAddress": MARKETS[0] });
    for (name, value) in more {
        body[*name] = json!(value);
    }
    body
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }

    /// The response of a success.
    pub(crate) fn response(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.json()["info"]["response"].clone()
    }

    /// The status and the reason of a refusal, which has the shape of all refusals.
    pub(crate) fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["info"]["success"], false, "{body}");
        assert_eq!(body["requestID"].as_str(), self.header("x-request-id"));
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(2), "{body}");
        assert_eq!(self.header("content-type"), Some("application/json"));
        (self.status, body["info"]["response"].as_str().expect("a reason").to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

pub(crate) async fn post(port: SocketAddr, path: &str, body: &Value) -> Answer {
    ask(port, "POST", path, &["Content-Type: application/json", "X-Request-ID: r-1"], &body.to_string()).await
}

pub(crate) async fn ask(port: SocketAddr, method: &str, path: &str, lines: &[&str], body: &str) -> Answer {
    let mut stream = TcpStream::connect(port).await.expect("the port is open");
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    // A server that has refused the head reads no body.
    let _ = stream.write_all(body.as_bytes()).await;
    read(stream).await
}

pub(crate) async fn read(mut stream: TcpStream) -> Answer {
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("UTF-8");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// Writes what all paths show: day 20, epoch 7, slot 42.
pub(crate) async fn seed(scene: &mut Scene) {
    let key = |name: &str, ids: &str| format!("{name}.{MARKET}{ids}");
    let submission = r#"{"request":{"slotId":"42","deadline":"99","snapshotCid":"Qm1","epochId":"7","projectId":"p:1"},"signature":"0xab","header":"0xcd","dataMarket":"0xee","nodeVersion":"v9"}"#;
    let discarded = r#"{"mostFrequentSnapshotCID":"Qm1","discardedSubmissionCount":2,"discardedSubmissions":{"9":["Qm3"],"42":["Qm2"]}}"#;
    let of_day = r#"{"p:2":{"finalizedCID":"Qm5","discardedSubmissionCount":1,"discardedSubmissions":["Qm6"]},"p:1":{"finalizedCID":"Qm1","discardedSubmissionCount":0,"discardedSubmissions":null}}"#;
    for words in [
        &["SET", &key("CurrentDayKey", ""), "20"][..],
        &["SET", &key("LastKnownDayKey", ""), "19"],
        &["SET", &key("SlotSubmissionsKey", ".20.42"), "12"],
        &["SET", &key("SlotSubmissionsKey", ".19.42"), "34"],
        &["SET", &key("EligibleSlotSubmissionsKey", ".20.42"), "11"],
        &["SET", &key("EligibleSlotSubmissionsKey", ".19.42"), "33"],
        &["SADD", &key("EligibleNodeByDayKey", ".20"), "10", "9", "42"],
        &["SADD", &key("EligibleNodeByDayKey", ".19"), "7"],
        &["SET", &key("BatchCountKey", ".7"), "3"],
        // Each alone, since a hash has no order.
        &["HSET", &key("EpochSubmissionsKey", ".7"), "b", submission],
        &["HSET", &key("EpochSubmissionsKey", ".6"), "a", r#"{"signature":"0x1"}"#],
        &["HSET", &key("EligibleSlotSubmissionByEpochKey", ".20.7"), "42", "5", "9", "6"],
        &["SADD", &key("ActiveSnapshottersForEpoch", ".7"), "42", "9"],
        &["HSET", &key("DiscardedSubmissionKey", ".20.7"), "p:1", discarded],
        &["HSET", &key("DiscardedSubmissionKey", ".20"), "42", of_day],
        &["SET", &key("LastSimulatedSubmissionKey", ".42"), "1700000000"],
        &["SET", &key("LastSnapshotSubmissionKey", ".42"), "1700000060"],
        &["SET", &key("LastSnapshotSubmissionKey", ".43"), "0"],
        &["SET", &format!("snapshotter:{MARKET}:42:node_version"), "v1.2.3"],
    ] {
        scene.run(words).await;
    }
}
