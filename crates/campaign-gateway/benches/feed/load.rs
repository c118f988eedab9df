//! The clients: most of them bare sockets in this process, some official ones in a process of Node.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    process::Command,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

use crate::{
    Size,
    common::{
        official::packages,
        world::{campaign, token},
    },
    server::{Kind, Server, micros},
};

/// What was measured.
#[derive(Debug)]
pub(crate) struct Figures {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) max: Duration,
    /// The median of the official clients.
    pub(crate) official_p50: Duration,
    pub(crate) kilobytes: f64,
    pub(crate) missing: u64,
}

/// How long a client may take to join.
const JOIN_WITHIN: Duration = Duration::from_secs(60);

/// Measures a server.
pub(crate) async fn measure(kind: Kind, size: Size) -> Figures {
    let mut server = Server::start(kind, size).await;
    let latencies: Arc<Mutex<Vec<u64>>> = Arc::default();
    // One client, so that what is set up once is not counted for the clients.
    let mut clients = JoinSet::new();
    let joined = Arc::new(Semaphore::new(0));
    let (bare, port) = (size.clients - size.official, server.port);
    let spawn = |clients: &mut JoinSet<()>, number: usize| {
        clients.spawn(client(port, number % size.rooms, joined.clone(), latencies.clone()));
    };
    spawn(&mut clients, 0);
    wait(&joined, 1).await;
    let before = server.memory().await;
    for number in 1..bare {
        spawn(&mut clients, number);
        // As many at once as the backlog of a listener holds.
        if number % 100 == 0 {
            wait(&joined, number - 1).await;
        }
    }
    wait(&joined, bare).await;
    let with_bare = server.memory().await;
    let mut official = Official::start(server.port, bare, size).await;
    // Warm, and not measured.
    server.publish(size.rooms as u64, 1_000).await;
    official.report().await;
    latencies.lock().unwrap().clear();
    let events = size.per_second * size.seconds;
    server.publish(events, size.per_second).await;
    let expected = events * size.clients as u64 / size.rooms as u64;
    let mut all = official.report().await;
    all.sort_unstable();
    let official_p50 = place(&all, 0.5);
    let got = || latencies.lock().unwrap().len() + all.len();
    let is_there = async || got() as u64 >= expected;
    let _ = timeout(
        Duration::from_secs(5),
        testkit::wait_until("all have come", Duration::from_secs(60), is_there),
    )
    .await;
    let after = server.memory().await;
    println!(
        "{kind:?}: {} KB before, {} KB with {bare} clients, {} KB at the end",
        before / 1_024,
        with_bare / 1_024,
        after / 1_024
    );
    all.extend(latencies.lock().unwrap().iter());
    all.sort_unstable();
    let missing = expected.saturating_sub(all.len() as u64);
    Figures {
        p50: place(&all, 0.5),
        p99: place(&all, 0.99),
        max: place(&all, 1.0),
        official_p50,
        kilobytes: after.saturating_sub(before) as f64 / 1_024.0 / (size.clients - 1) as f64,
        missing,
    }
}

fn place(sorted: &[u64], part: f64) -> Duration {
    let place = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    Duration::from_micros(sorted.get(place).copied().unwrap_or(u64::MAX / 2))
}

/// Waits until so many have joined.
async fn wait(joined: &Semaphore, count: usize) {
    let all = timeout(JOIN_WITHIN, joined.acquire_many(count as u32)).await;
    drop(all.expect("the clients join in time").unwrap());
}

/// A bare client: it joins, notes how old each event is, and answers pings.
async fn client(port: u16, room: usize, joined: Arc<Semaphore>, latencies: Arc<Mutex<Vec<u64>>>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::with_capacity(4_096);
    until(&mut stream, &mut bytes, "maxPayload").await;
    let connect = format!(r#"40/campaigns,{{"token":"{}"}}"#, token("anna"));
    stream.write_all(&frame(connect.as_bytes())).await.unwrap();
    until(&mut stream, &mut bytes, "40/campaigns,{").await;
    let join = format!(r#"42/campaigns,1["join_campaign",{{"campaignId":"{}"}}]"#, campaign(room as u128));
    stream.write_all(&frame(join.as_bytes())).await.unwrap();
    until(&mut stream, &mut bytes, "Successfully joined").await;
    joined.add_permits(1);
    loop {
        while let Some((start, end)) = next_frame(&bytes) {
            let text = &bytes[start..end];
            if text == b"2" {
                stream.write_all(&frame(b"3")).await.unwrap();
            } else if let Some(at) = sent_at(text) {
                latencies.lock().unwrap().push(micros().saturating_sub(at));
            }
            bytes.drain(..end);
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, text: &str) {
    bytes.clear();
    while !bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
        assert!(stream.read_buf(bytes).await.unwrap() > 0, "{}", String::from_utf8_lossy(bytes));
    }
    bytes.clear();
}

/// A frame of a client with a mask of zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        medium => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
    frame
}

/// Where the text of the first frame is, if it is whole.
fn next_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? {
        short @ ..126 => (2, usize::from(short)),
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        _ => panic!("no such large frame is expected"),
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}

/// When an event was appended.
fn sent_at(text: &[u8]) -> Option<u64> {
    let place = text.windows(5).position(|window| window == b"\"at\":")?;
    let digits = text[place + 5..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// The official clients.
struct Official {
    input: tokio::process::ChildStdin,
    output: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    _process: tokio::process::Child,
}

impl Official {
    async fn start(port: u16, first: usize, size: Size) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/feed/clients.js");
        let rooms =
            (first..first + size.official).map(|number| campaign((number % size.rooms) as u128).to_string());
        let mut process = Command::new("node")
            .arg(script)
            .arg(packages())
            .arg(format!("http://127.0.0.1:{port}/campaigns"))
            .arg(token("anna"))
            .args(rooms)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = timeout(JOIN_WITHIN, output.next_line()).await.expect("official clients join in time");
        assert_eq!(ready.unwrap().unwrap(), "ready");
        Self { input, output, _process: process }
    }

    /// What they measured since the last report, in microseconds.
    async fn report(&mut self) -> Vec<u64> {
        self.input.write_all(b"report\n").await.unwrap();
        let line = self.output.next_line().await.unwrap().unwrap();
        line.split(' ').filter_map(|number| number.parse().ok()).collect()
    }
}
