//! The clients: most of them bare sockets in this process, some official ones in a process of Node.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
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
    wire::{frame, join, next},
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
    let mut bytes = Vec::with_capacity(4_096);
    let mut stream = join(port, &token("anna"), &campaign(room as u128).to_string(), &mut bytes).await;
    joined.add_permits(1);
    while let Some(text) = next(&mut stream, &mut bytes).await {
        if text == b"2" {
            stream.write_all(&frame(b"3")).await.unwrap();
        } else if let Some(at) = sent_at(&text) {
            latencies.lock().unwrap().push(micros().saturating_sub(at));
        }
    }
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
