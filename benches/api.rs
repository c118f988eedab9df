//! The read API, in release, against a private Redis.
//!
//! Prints: the time of a path whose hash has 10,000 fields, beside a bare HGETALL of the same hash in the same run; and the
//! latency of a small answer at 1,000 requests a second, counted from the moment at which each was due. It fails beyond the limits:
//! 1.5 times a bare HGETALL, and 5 ms for 99 of 100 small answers.

#![allow(clippy::expect_used)] // A missing figure ends the run.

use std::{
    net::SocketAddr,
    process::{ExitCode, Stdio},
    time::{Duration, Instant},
};

use redis::aio::MultiplexedConnection;
use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
const MARKET: &str = "0x0c2e22fe7526faef28e7a58c84f8723defce200c";
const TOKEN: &str = "the-token-of-readers";
const FIELDS: usize = 10_000;
const ROUNDS: usize = 60;
const LARGEST_RATIO: f64 = 1.5;
const A_SECOND: u32 = 1_000;
const MEASURE: u32 = 10;
const CONNECTIONS: u32 = 16;
const LONGEST: Duration = Duration::from_millis(5);
const SOON: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let redis = RedisServer::start().await.expect("a Redis server");
    let mut connection = redis.connection().await.expect("a connection");
    seed(&mut connection).await;
    let (_child, port) = start(&redis).await;
    let mut kept = true;
    for (path, key, request) in [
        (
            "/eligibleSlotSubmissionCount",
            format!("EligibleSlotSubmissionByEpochKey.{MARKET}.20.7"),
            "\"day\":20,",
        ),
        ("/epochSubmissionDetails", format!("EpochSubmissionsKey.{MARKET}.7"), ""),
    ] {
        kept &= hash(&mut connection, port, path, &key, request).await;
    }
    kept &= small(port, redis.addr()).await;
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn seed(connection: &mut MultiplexedConnection) {
    let mut pipe = redis::pipe();
    pipe.cmd("SET").arg(format!("BatchCountKey.{MARKET}.7")).arg(3).ignore();
    for slot in 1..=FIELDS {
        let submission = format!(
            "{{\"request\":{{\"slotId\":\"{slot}\",\"deadline\":\"22000000\",\"snapshotCid\":\"bafkreib{slot:051}\",\
             \"epochId\":\"7\",\"projectId\":\"pairContract_trade_volume:0x{slot:040x}:UNISWAPV2\"}},\"signature\":\"{slot:0130x}\",\
             \"header\":\"0x{slot:064x}\"}}"
        );
        let counts = format!("EligibleSlotSubmissionByEpochKey.{MARKET}.20.7");
        pipe.cmd("HSET").arg(counts).arg(slot).arg(slot % 100).ignore();
        let submissions = format!("EpochSubmissionsKey.{MARKET}.7");
        pipe.cmd("HSET").arg(submissions).arg(format!("0b5c-{slot:032x}")).arg(submission).ignore();
    }
    let _: () = pipe.query_async(connection).await.expect("written");
}

async fn start(redis: &RedisServer) -> (Child, SocketAddr) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
        .env_clear()
        .env("REDIS_HOST", "127.0.0.1")
        .env("REDIS_PORT", redis.port().to_string())
        .env("PROTOCOL_STATE_CONTRACT", PROTOCOL)
        .env("DATA_MARKET_ADDRESSES", MARKET)
        .env("STATE_TRACKER_METRICS_PORT", "0")
        .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
        .env("AUTH_READ_TOKEN", TOKEN)
        .env("STATE_TRACKER__API__ADDRESS", "127.0.0.1:0")
        .env("STATE_TRACKER__LOG__FORMAT", "json")
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let port = loop {
        let line = lines.next_line().await.expect("read").expect("it opens its port");
        let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        if let Some(port) = line["read_api"].as_str() {
            break port.parse().expect("an address");
        }
    };
    // What is not read would fill the pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    wait_until("it answers", SOON, async || TcpStream::connect(port).await.is_ok()).await;
    (child, port)
}

fn request(path: &str, more: &str) -> String {
    let body = format!("{{\"token\":\"{TOKEN}\",\"dataMarketAddress\":\"{MARKET}\",{more}\"epochID\":7}}");
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A connection that is kept open.
struct Client(TcpStream, Vec<u8>);

impl Client {
    async fn connect(port: SocketAddr) -> Self {
        let stream = TcpStream::connect(port).await.expect("connected");
        stream.set_nodelay(true).expect("set");
        Self(stream, vec![0; 1 << 20])
    }

    /// Sends a request and reads its answer; the number of its bytes.
    async fn ask(&mut self, request: &str) -> usize {
        let Self(stream, buffer) = self;
        stream.write_all(request.as_bytes()).await.expect("sent");
        let (mut head, mut length) = (Vec::new(), None);
        let mut read = 0;
        loop {
            let count = stream.read(buffer).await.expect("read");
            assert!(count > 0, "the server closed");
            read += count;
            if length.is_none() {
                head.extend_from_slice(&buffer[..count]);
                let text = String::from_utf8_lossy(&head);
                let Some((lines, _)) = text.split_once("\r\n\r\n") else { continue };
                assert!(lines.starts_with("HTTP/1.1 200"), "{text}");
                let of_body = lines.lines().find_map(|line| line.strip_prefix("content-length: "));
                let of_body: usize = of_body.and_then(|text| text.parse().ok()).expect("a length");
                length = Some(lines.len() + 4 + of_body);
            }
            if length == Some(read) {
                return read;
            }
        }
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

async fn hash(
    connection: &mut MultiplexedConnection,
    port: SocketAddr,
    path: &str,
    key: &str,
    more: &str,
) -> bool {
    let (mut client, text) = (Client::connect(port).await, request(path, more));
    let (mut bare, mut whole, mut bytes) = (Vec::new(), Vec::new(), 0);
    // By turns, so that a busy machine slows both down.
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let all: Vec<(String, String)> =
            redis::cmd("HGETALL").arg(key).query_async(connection).await.expect("read");
        bare.push(began.elapsed());
        assert_eq!(all.len(), FIELDS);
        let began = Instant::now();
        bytes = client.ask(&text).await;
        whole.push(began.elapsed());
    }
    let (bare, whole) = (median(&mut bare), median(&mut whole));
    let ratio = whole.as_secs_f64() / bare.as_secs_f64();
    println!(
        "{path}: {FIELDS} fields, {} kB: {whole:.2?}, a bare HGETALL {bare:.2?}: {ratio:.2} times, at most {LARGEST_RATIO}",
        bytes / 1_000
    );
    ratio <= LARGEST_RATIO
}

async fn small(port: SocketAddr, redis: SocketAddr) -> bool {
    let text = request("/batchCount", "");
    let [half, most, slowest] = at_times(
        async || (Client::connect(port).await, text.clone()),
        async |(client, text)| {
            client.ask(text).await;
        },
    )
    .await;
    println!(
        "/batchCount: {A_SECOND} requests a second for {MEASURE} s: p50 {half:.2?}, p99 {most:.2?}, at most {LONGEST:?}; p99.9 {slowest:.2?}"
    );
    // What this machine takes for the least that can be asked: the same load on Redis alone.
    let [bare_half, bare_most, bare_slowest] = at_times(
        async || TcpStream::connect(redis).await.expect("connected"),
        async |stream| {
            stream.write_all(b"PING\r\n").await.expect("sent");
            let mut answer = [0; 7];
            stream.read_exact(&mut answer).await.expect("read");
        },
    )
    .await;
    println!(
        "a bare PING at the same times: p50 {bare_half:.2?}, p99 {bare_most:.2?}; p99.9 {bare_slowest:.2?}"
    );
    most <= LONGEST
}

/// Asks at fixed times over several connections; how long after those times half, 99 and 99.9 of 100 answers were there.
async fn at_times<C>(connect: impl AsyncFn() -> C, ask: impl AsyncFn(&mut C)) -> [Duration; 3] {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(connect().await);
    }
    let start = Instant::now() + Duration::from_millis(100);
    let gap = Duration::from_secs(1) / A_SECOND;
    let ask = &ask;
    let all = clients.into_iter().zip(0..CONNECTIONS).map(|(mut client, connection)| async move {
        let mut times = Vec::new();
        for number in (connection..A_SECOND * MEASURE).step_by(CONNECTIONS as usize) {
            let due = start + gap * number;
            tokio::time::sleep_until(due.into()).await;
            ask(&mut client).await;
            times.push(due.elapsed());
        }
        times
    });
    let mut times: Vec<Duration> = futures_util::future::join_all(all).await.into_iter().flatten().collect();
    times.sort_unstable();
    [500, 990, 999].map(|share| times[times.len() * share / 1_000])
}
