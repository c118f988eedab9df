//! Clients that break the protocol, that read nothing, or that are half gone: each costs what its limits say, and the others nothing.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test that can not go on panics.

mod common;

use std::time::Duration;

use campaign_gateway::{EventKind, Settings};
use common::{
    log::Memory,
    world::{Running, campaign, settings, token},
};
use socket_io::{Bounds, Ending};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(60);

/// A gateway whose limits are soon met.
async fn gateway(change: impl FnOnce(&mut Settings)) -> (Memory, Running) {
    let memory = Memory::default();
    memory.own("anna", campaign(1));
    let mut settings = settings();
    // These clients answer no ping.
    settings.connections.ping_interval = Duration::from_secs(3_600);
    change(&mut settings);
    let running = Running::start(&memory, settings).await;
    (memory, running)
}

/// A connection of bytes.
struct Raw(TcpStream);

impl Raw {
    async fn open(port: u16) -> Self {
        Self(TcpStream::connect(("127.0.0.1", port)).await.unwrap())
    }

    /// Opens a WebSocket.
    async fn websocket(port: u16) -> Self {
        let mut raw = Self::open(port).await;
        raw.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
              Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
        raw.until("maxPayload").await;
        raw
    }

    /// A WebSocket that has joined a campaign.
    async fn joined(port: u16, user: &str, number: u128) -> Self {
        let mut raw = Self::websocket(port).await;
        raw.text(&format!(r#"40/campaigns,{{"token":"{}"}}"#, token(user))).await;
        raw.until("40/campaigns").await;
        raw.text(&format!(r#"42/campaigns,1["join_campaign",{{"campaignId":"{}"}}]"#, campaign(number)))
            .await;
        raw.until("Successfully joined").await;
        raw
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    async fn text(&mut self, text: &str) {
        self.write(&frame(0x81, text.as_bytes())).await;
    }

    /// Reads until this text came.
    async fn until(&mut self, text: &str) -> String {
        let mut all = Vec::new();
        let read = async {
            while !String::from_utf8_lossy(&all).contains(text) {
                assert!(self.0.read_buf(&mut all).await.unwrap() > 0, "{}", String::from_utf8_lossy(&all));
            }
        };
        timeout(SOON, read).await.unwrap_or_else(|_| panic!("no {text}"));
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Reads until the other side ends the connection.
    async fn end(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        // A reset is an end too.
        let _ = timeout(SOON, self.0.read_to_end(&mut all)).await.expect("it ends");
        all
    }
}

/// A frame of a client.
fn frame(first: u8, content: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match content.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        medium @ ..65_536 => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(content);
    frame
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_packets_that_break_the_protocol_end_their_connection_with_a_reason() {
    let (_memory, running) = gateway(|_| {}).await;
    for (bytes, status) in [
        (frame(0x82, b"binary"), 1003),
        (frame(0x81, b"451-/campaigns,[\"x\",{\"_placeholder\":true,\"num\":0}]"), 1003),
        (frame(0x81, &[0xff, 0xfe]), 1007),
        (frame(0x81, &vec![b'4'; 100_000]), 1009),
        (frame(0xf1, b"x"), 1002),
        (frame(0x81, b"garbage"), 1002),
        (frame(0x81, b"42/campaigns,[\"join_campaign\"]"), 1002),
        (frame(0x81, b"40/campaigns,{\"token\":"), 1002),
        (vec![0x81, 0x05, b'h', b'e', b'l', b'l', b'o'], 1002),
    ] {
        let mut raw = Raw::websocket(running.port).await;
        raw.0.write_all(&bytes).await.unwrap();
        let answer = raw.end().await;
        let place = answer.windows(2).position(|two| two == u16::to_be_bytes(status));
        assert!(place.is_some(), "{status}: {answer:?}");
    }
    let ended = async || running.gateway.counts().connections.sessions_ended(Ending::Protocol) == 9;
    testkit::wait_until("all have ended", SOON, ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_polling_that_break_the_protocol_are_refused() {
    let (_memory, running) = gateway(|_| {}).await;
    let ask = async |request: String| {
        let mut raw = Raw::open(running.port).await;
        raw.write(request.as_bytes()).await;
        String::from_utf8_lossy(&raw.end().await).into_owned()
    };
    let get =
        |query: &str| format!("GET /socket.io/?{query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (query, code) in [
        ("EIO=3&transport=polling", 5),
        ("transport=polling", 5),
        ("EIO=4", 0),
        ("EIO=4&transport=carrier-pigeon", 0),
        ("EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", 1),
        ("EIO=4&transport=polling&sid=%00", 1),
        ("EIO=4&transport=websocket", 3),
    ] {
        let answer = ask(get(query)).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{query}: {answer}");
        assert!(answer.contains(&format!(r#"{{"code":{code},"#)), "{query}: {answer}");
    }
    let open = async || {
        let answer = ask(get("EIO=4&transport=polling")).await;
        answer.split(r#""sid":""#).nth(1).unwrap()[..20].to_owned()
    };
    let post = |sid: &str, body: &str| {
        format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for body in ["", "x", "4", "2", "bAAAA", "42/campaigns,[\"x\"]", "3\u{1e}", "40/campaigns,[]"] {
        let sid = open().await;
        assert!(ask(post(&sid, body)).await.starts_with("HTTP/1.1 400"), "{body:?}");
        let after = ask(get(&format!("EIO=4&transport=polling&sid={sid}"))).await;
        assert!(after.ends_with('1') || after.contains("Session ID unknown"), "{body:?}: {after}");
    }
    let sid = open().await;
    assert!(ask(post(&sid, &"4".repeat(70_000))).await.starts_with("HTTP/1.1 413"));
    let sid = open().await;
    let binary = ask(post(&sid, "bAAAA")).await;
    assert!(binary.contains("binary packets are not supported"), "{binary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_arrives_in_pieces_is_one_body() {
    let (_memory, running) = gateway(|_| {}).await;
    let mut raw = Raw::open(running.port).await;
    raw.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let answer = raw.until("maxPayload").await;
    let sid = answer.split(r#""sid":""#).nth(1).unwrap()[..20].to_owned();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let body = format!(r#"40/campaigns,{{"token":"{}"}}"#, token("anna"));
    raw.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes())
        .await;
    for piece in body.as_bytes().chunks(7) {
        raw.write(format!("{:x}\r\n", piece.len()).as_bytes()).await;
        raw.write(piece).await;
        raw.write(b"\r\n").await;
        raw.0.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    raw.write(b"0\r\n\r\n").await;
    raw.until("ok").await;
    raw.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    raw.until("40/campaigns,{\"sid\"").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_gets_the_newest_status_once_it_reads_and_costs_its_bound() {
    let bounds = Bounds { messages: 64, bytes: 64 << 10 };
    let (memory, running) = gateway(|settings| settings.connections.client_buffer = bounds).await;
    let mut slow = Raw::joined(running.port, "anna", 1).await;
    // More than the system's own buffers between the two hold.
    let filler = "x".repeat(2_000);
    let payload = |number: u64| format!(r#"{{"number":{number},"filler":"{filler}"}}"#);
    let mut last = 0;
    for number in 0..10_000 {
        last = memory.append(campaign(1), EventKind::Status, &payload(number));
        if number % 50 == 0 {
            let is_sent = async || running.gateway.counts().position >= last;
            testkit::wait_until("the feed has it", SOON, is_sent).await;
        }
    }
    let is_sent = async || running.gateway.counts().position >= last;
    testkit::wait_until("the feed has all", SOON, is_sent).await;
    let counts = running.gateway.counts();
    println!("{} of 10,000 statuses were replaced", counts.replaced);
    assert!(counts.replaced > 1_000, "{counts:?}");
    slow.until(&format!(r#""eventId":{last},"#)).await;
    assert_eq!(running.gateway.counts().clients, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_that_exceeds_what_may_wait_for_a_client_reaches_each_that_reads() {
    let bounds = Bounds { messages: 64, bytes: 16 << 10 };
    let (memory, running) = gateway(|settings| {
        settings.connections.client_buffer = bounds;
        // However long the client takes.
        settings.part_within = SOON;
    })
    .await;
    let mut raw = Raw::joined(running.port, "anna", 1).await;
    let payload = format!(r#"{{"filler":"{}"}}"#, "x".repeat(500));
    // All of it is there before the gateway sees the first one.
    memory.set_away(true);
    for _ in 0..400 {
        memory.append(campaign(1), EventKind::Job, &payload);
    }
    let last = memory.last();
    memory.set_away(false);
    let all = raw.until(&format!(r#""eventId":{last},"#)).await;
    assert_eq!(all.matches(r#""eventId":"#).count(), 400);
    assert_eq!(running.gateway.counts().connections.sessions_ended(Ending::Slow), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_nothing_ends_where_nothing_can_be_replaced() {
    let bounds = Bounds { messages: 64, bytes: 64 << 10 };
    let (memory, running) = gateway(|settings| settings.connections.client_buffer = bounds).await;
    let _slow = Raw::joined(running.port, "anna", 1).await;
    let mut other = Raw::joined(running.port, "anna", 1).await;
    let filler = "x".repeat(2_000);
    let is_ended = async || running.gateway.counts().connections.sessions_ended(Ending::Slow) == 1;
    let mut number = 0;
    let payload = |number: u64| format!(r#"{{"number":{number},"filler":"{filler}"}}"#);
    let fill = async || {
        number += 1;
        memory.append(campaign(1), EventKind::Job, &payload(number));
        other.until(&format!(r#""number":{number},"#)).await;
        is_ended().await
    };
    testkit::wait_until("the slow client has ended", Duration::from_secs(240), fill).await;
    let counts = running.gateway.counts();
    assert_eq!(counts.clients, 1, "the other one stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_open_connection_ends_by_its_ping() {
    let quick = Duration::from_millis(300);
    let (_memory, running) = gateway(|settings| {
        settings.connections.ping_interval = quick;
        settings.connections.ping_timeout = quick;
    })
    .await;
    // It answers nothing any more, and its connection stays open.
    let mut silent = Raw::joined(running.port, "anna", 1).await;
    assert_eq!((running.gateway.counts().clients, running.gateway.counts().rooms), (1, 1));
    let is_gone = async || running.gateway.counts().clients == 0;
    testkit::wait_until("it is gone", SOON, is_gone).await;
    let counts = running.gateway.counts();
    assert_eq!((counts.rooms, counts.connections.sessions_ended(Ending::Silent)), (0, 1));
    silent.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_asks_for_nothing_ends_and_one_that_sends_its_head_slowly_too() {
    let quick = Duration::from_millis(300);
    let (_memory, running) = gateway(|settings| {
        settings.connections.connect_timeout = quick;
        settings.connections.head_within = quick;
    })
    .await;
    let mut idle = Raw::websocket(running.port).await;
    let mut slow = Raw::open(running.port).await;
    slow.write(b"GET /socket.io/?EIO=4").await;
    idle.end().await;
    slow.end().await;
    let ended = async || running.gateway.counts().connections.sessions_ended(Ending::Idle) == 1;
    testkit::wait_until("it has ended", SOON, ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_has_a_limit_of_connections_and_the_next_one_gets_its_place() {
    let (_memory, running) = gateway(|settings| settings.connections.most_per_address = 3).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(Raw::websocket(running.port).await);
    }
    Raw::open(running.port).await.end().await;
    drop(all);
    let is_free = async || running.gateway.counts().clients == 0;
    testkit::wait_until("the places are free", SOON, is_free).await;
    let again = async || {
        let mut raw = Raw::open(running.port).await;
        let request =
            b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        raw.0.write_all(request).await.is_ok()
            && String::from_utf8_lossy(&raw.end().await).contains("maxPayload")
    };
    testkit::wait_until("one more is served", SOON, again).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_polling_client_that_breaks_its_request_off_half_way_gets_no_gap() {
    let bounds = Bounds { messages: 64, bytes: 16 << 10 };
    let (memory, running) = gateway(|settings| settings.connections.client_buffer = bounds).await;
    let mut raw = Raw::websocket(running.port).await;
    raw.text(&format!(r#"40/campaigns,{{"token":"{}"}}"#, token("anna"))).await;
    let hello = raw.until(r#""}"#).await;
    let pid = hello.split(r#""pid":""#).nth(1).unwrap()[..20].to_owned();
    raw.text(&format!(r#"42/campaigns,1["join_campaign",{{"campaignId":"{}"}}]"#, campaign(1))).await;
    raw.until("Successfully joined").await;
    drop(raw);
    for _ in 0..1_000 {
        memory.append(campaign(1), EventKind::Job, "{}");
    }
    // The client comes back behind them: what is live then would wait beside its replay.
    let is_fed = async || running.gateway.counts().events >= 1_000;
    testkit::wait_until("the gateway has them", SOON, is_fed).await;
    let mut raw = Raw::open(running.port).await;
    raw.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let hello = raw.until("maxPayload").await;
    let sid = hello.split(r#""sid":""#).nth(1).unwrap()[..20].to_owned();
    let body = format!(r#"40/campaigns,{{"token":"{}","pid":"{pid}"}}"#, token("anna"));
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    // It reads nothing, so that its replay waits for it.
    raw.write(
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
    )
    .await;
    let is_replayed = async || running.gateway.counts().replayed > 0;
    testkit::wait_until("the replay has begun", SOON, is_replayed).await;
    drop(raw);
    // What it gets by its next requests has no gap, and ends with the last event.
    let mut raw = Raw::open(running.port).await;
    let mut ids: Vec<u64> = Vec::new();
    while ids.last() != Some(&1_000) {
        raw.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
        let head = raw.until("\r\n\r\n").await;
        let (head, begun) = head.split_once("\r\n\r\n").unwrap();
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = begun.as_bytes().to_vec();
        while body.len() < length.parse().unwrap() {
            assert!(timeout(SOON, raw.0.read_buf(&mut body)).await.unwrap().unwrap() > 0);
        }
        let body = String::from_utf8(body).unwrap();
        let of = |part: &str| part.split(',').next().unwrap().parse::<u64>().unwrap();
        ids.extend(body.split(r#""eventId":"#).skip(1).map(of));
        assert!(head.contains(" 200 ") && body != "1", "{head} {body}");
    }
    assert_eq!(ids, (1..=1_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_tries_one_token_after_the_other_counts_as_so_many_connections() {
    let (_memory, running) = gateway(|settings| settings.connections.per_second_per_address = 5).await;
    let mut raw = Raw::websocket(running.port).await;
    for _ in 0..100 {
        let packet = frame(0x81, br#"40/campaigns,{"token":"no token"}"#);
        // It may have ended already.
        let _ = raw.0.write_all(&packet).await;
    }
    raw.end().await;
    let refused = running.gateway.counts().connects_refused;
    assert!((1..50).contains(&refused), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_polling_that_is_broken_off_in_work_ends_its_session() {
    let (memory, running) = gateway(|_| {}).await;
    let mut raw = Raw::open(running.port).await;
    raw.write(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let hello = raw.until("maxPayload").await;
    let sid = hello.split(r#""sid":""#).nth(1).unwrap()[..20].to_owned();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let post = |body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    raw.write(post(&format!(r#"40/campaigns,{{"token":"{}"}}"#, token("anna"))).as_bytes()).await;
    raw.until("\r\n\r\nok").await;
    let mut gate = memory.hold("owner_of", 0, false);
    let join = format!(r#"42/campaigns,1["join_campaign",{{"campaignId":"{}"}}]"#, campaign(1));
    raw.write(post(&join).as_bytes()).await;
    gate.reached().await;
    drop(raw);
    let is_gone = async || running.gateway.counts().clients == 0;
    testkit::wait_until("the session has ended", SOON, is_gone).await;
    assert_eq!(running.gateway.counts().rooms, 0);
}
