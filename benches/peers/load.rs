//! 1,000 senders of 100 miners each, every 5 s.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::{Duration, Instant},
};

use testkit::{RedisServer, wait_until};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream},
};

use crate::{
    figure,
    pictures::{Template, now},
    service::{FULL, SOON, Service},
};

const SENDERS: usize = 1_000;
const MINERS: usize = 100;
const INTERVAL: Duration = Duration::from_secs(5);
/// Until each has sent a few times, and is measured.
const WARM_UP: Duration = Duration::from_secs(20);
const MOST_CPU: f64 = 0.4;
const MOST_MEMORY: f64 = 200.0;
const A_DAY: f64 = 86_400.0;

/// A sender with an address of its own on this machine, and so a source of its own.
struct Sender {
    stream: TcpStream,
    templates: Vec<Template>,
}

/// All senders.
struct Senders {
    all: Vec<Sender>,
    sent: u64,
    /// The longest time after which a picture was sent too late.
    late: Duration,
}

impl Senders {
    async fn connect(to: SocketAddr) -> Self {
        let which = std::env::var("PEERS_BENCH_SENDS").unwrap_or_default();
        let mut all = Vec::new();
        for number in 0..SENDERS {
            let socket = TcpSocket::new_v4().expect("a socket");
            let own = Ipv4Addr::new(127, 20, (number / 250) as u8, (number % 250 + 1) as u8);
            socket.bind((own, 0).into()).expect("an address of the machine");
            let stream = socket.connect(to).await.expect("connected");
            let kinds = [("status", Template::status as fn(_, _) -> _), ("metrics", Template::metrics)];
            let templates = kinds.into_iter().filter(|(name, _)| which.is_empty() || which == *name);
            let templates = templates.map(|(_, make)| make(number, MINERS)).collect();
            all.push(Sender { stream, templates });
        }
        Self { all, sent: 0, late: Duration::ZERO }
    }

    /// Sends for a while: each every interval, one after the other within it.
    async fn send(&mut self, length: Duration) {
        let began = Instant::now();
        let gap = INTERVAL / SENDERS as u32;
        for number in 0_u32.. {
            let due = began + gap * number;
            if due >= began + length {
                break;
            }
            tokio::time::sleep_until(due.into()).await;
            let sender = &mut self.all[number as usize % SENDERS];
            let time = now();
            for template in &mut sender.templates {
                sender.stream.write_all(template.at(time)).await.expect("sent");
                self.sent += 1;
            }
            self.late = self.late.max(due.elapsed());
        }
    }
}

pub(crate) async fn measure() -> bool {
    let length = std::env::var("PEERS_BENCH_SECONDS").map_or(60, |text| text.parse().expect("seconds"));
    let redis = RedisServer::start().await.expect("a Redis server");
    let folder = tempfile::tempdir().expect("a folder");
    let (is_kept, bytes) = under_load(&redis, folder.path(), Duration::from_secs(length)).await;
    is_kept & reach_the_cap(&redis, folder.path(), bytes).await
}

const CONNECTIONS: (&str, &str) = ("STATE_TRACKER__PEERS__CONNECTIONS", "1100");

/// The figures under load, and the size of the file after it.
async fn under_load(redis: &RedisServer, folder: &Path, length: Duration) -> (bool, u64) {
    let service = Service::start(redis, folder, &[CONNECTIONS]).await;
    let mut senders = Senders::connect(service.sends).await;
    wait_until("all are connected", SOON, async || {
        service.sum("state_tracker_peers_connections").await == SENDERS as f64
    })
    .await;
    senders.send(WARM_UP).await;
    senders.late = Duration::ZERO;
    let written = "state_tracker_peers_samples_total";
    let before = (service.cpu(), service.written(), service.bytes(), service.sum(written).await);
    let began = Instant::now();
    senders.send(length).await;
    let seconds = began.elapsed().as_secs_f64();
    let (cpu, disk) = ((service.cpu() - before.0) / seconds, (service.written() - before.1) / seconds);
    let (memory, after) = (service.memory(), service.bytes());
    let samples = service.sum(written).await - before.3;
    let kinds = senders.all[0].templates.len();
    println!(
        "{SENDERS} senders of {MINERS} miners every {INTERVAL:?}, {kinds} messages each time, {seconds:.0} s: {:.0} samples a second, \
         the longest delay of a send {:.0?}",
        samples / seconds,
        senders.late
    );
    let mut is_kept = figure(
        &format!(
            "  CPU {:.1} % of a core (at most {:.0} %), ratio {:.2}",
            cpu * 100.0,
            MOST_CPU * 100.0,
            cpu / MOST_CPU
        ),
        cpu <= MOST_CPU,
    );
    is_kept &= figure(
        &format!(
            "  memory at most {memory:.0} MB (at most {MOST_MEMORY:.0} MB), ratio {:.2}",
            memory / MOST_MEMORY
        ),
        memory <= MOST_MEMORY,
    );
    wait_until("all pictures are read", SOON, async || {
        service.sum("state_tracker_peers_messages_total").await >= senders.sent as f64
    })
    .await;
    let read = service.sum("state_tracker_peers_messages_total").await;
    let dropped = service.sum("state_tracker_peers_dropped_lines_total").await
        + service.sum("state_tracker_peers_samples_total{outcome=\"dropped\"}").await;
    is_kept &= figure(
        &format!("  {} pictures sent, {read} read, {dropped} lines or samples dropped", senders.sent),
        read == senders.sent as f64 && dropped == 0.0,
    );
    let grown = after[0].saturating_sub(before.2[0]) as f64;
    println!(
        "  disk: the file grew by {:.1} bytes a sample, {:.1} GB a day; its journal has {:.0} MB; {:.1} GB a day are written",
        grown / samples,
        grown / seconds * A_DAY / 1e9,
        after[1] as f64 / 1e6,
        disk * A_DAY / 1e9,
    );
    service.stop().await;
    (is_kept, after[0])
}

/// The same file with room for a half of it, under the same load: the oldest samples go, and the file is as small as it may be.
async fn reach_the_cap(redis: &RedisServer, folder: &Path, bytes: u64) -> bool {
    let cap = (bytes / 2).max(4_194_304);
    let text = cap.to_string();
    let service =
        Service::start(redis, folder, &[CONNECTIONS, ("STATE_TRACKER__PEERS__MAX_BYTES", &text)]).await;
    let mut senders = Senders::connect(service.sends).await;
    let began = Instant::now();
    let mut is_reached = false;
    while !is_reached && began.elapsed() < SOON {
        senders.send(INTERVAL).await;
        let is_told = service.warnings.lock().expect("no panic").iter().any(|line| line.contains(FULL));
        is_reached = is_told && service.bytes()[0] <= cap;
    }
    let took = began.elapsed();
    senders.send(2 * INTERVAL).await;
    let after = service.bytes()[0];
    let is_kept = figure(
        &format!(
            "  the limit of {:.0} MB for a file of {:.0} MB: reached after {took:.0?}, {:.0} MB after 10 s more of the load, ratio {:.2}",
            cap as f64 / 1e6,
            bytes as f64 / 1e6,
            after as f64 / 1e6,
            after as f64 / cap as f64
        ),
        is_reached && after <= cap,
    );
    service.stop().await;
    is_kept
}
