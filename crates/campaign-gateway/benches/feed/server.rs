//! The two servers, each in a process of its own: it prints its port, and publishes when it is told to.

use std::{
    env,
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use campaign_gateway::EventKind;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    time::interval,
};

use crate::{
    Size,
    common::{
        log::Memory,
        official::packages,
        world::{Running, SECRET, campaign, settings},
    },
};

/// A server to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ours,
    Node,
}

/// A server's process.
pub(crate) struct Server {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) async fn start(kind: Kind, size: Size) -> Self {
        let mut command = match kind {
            Kind::Ours => {
                let mut command = Command::new(env::current_exe().unwrap());
                command.arg("serve-feed");
                command
            }
            Kind::Node => {
                let mut command = Command::new("node");
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/feed/server.js");
                command.arg("--expose-gc").arg(script).arg(packages());
                command.arg(std::str::from_utf8(SECRET).unwrap()).arg(campaign(0).to_string());
                command.arg(size.rooms.to_string());
                command
            }
        };
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().expect("the server starts: scripts/needs socket.io-client");
        let input = process.stdin.take().unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = output.next_line().await.unwrap().expect("a port").parse().unwrap();
        Self { process, input, output, port }
    }

    /// Lets it publish so many events, and waits until it has.
    pub(crate) async fn publish(&mut self, events: u64, per_second: u64) {
        self.input.write_all(format!("publish {events} {per_second}\n").as_bytes()).await.unwrap();
        assert_eq!(self.output.next_line().await.unwrap().unwrap(), "published");
    }

    /// The memory of its process, in bytes.
    pub(crate) async fn memory(&mut self) -> u64 {
        // Node collects its garbage first.
        self.input.write_all(b"collect\n").await.unwrap();
        assert_eq!(self.output.next_line().await.unwrap().unwrap(), "collected");
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
    }
}

/// The time since the Unix epoch, in microseconds.
pub(crate) fn micros() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// The gateway's process.
pub(crate) async fn run(size: Size) {
    let memory = Memory::default();
    for room in 0..size.rooms {
        memory.own("anna", campaign(room as u128));
    }
    let mut settings = settings();
    settings.connections_per_user = 1_000_000;
    settings.connects_per_second = 1_000_000;
    settings.requests_per_second = 1_000_000;
    settings.connections.most_connections = 1_000_000;
    settings.connections.most_per_address = 1_000_000;
    settings.connections.per_second_per_address = 1_000_000;
    let running = Running::start(&memory, settings).await;
    println!("{}", running.port);
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            sender.send(line.unwrap()).unwrap();
        }
    });
    let mut published = 0;
    while let Some(line) = lines.recv().await {
        let mut words = line.split(' ');
        match words.next() {
            Some("publish") => {
                let mut number = || words.next().unwrap().parse::<u64>().unwrap();
                let (events, per_second) = (number(), number());
                let mut ticks = interval(Duration::from_micros(1_000_000 / per_second));
                for _ in 0..events {
                    ticks.tick().await;
                    // 500 B to 2 KB.
                    let filler = "x".repeat(350 + (published * 37 % 1_500) as usize);
                    let id = campaign(u128::from(published % size.rooms as u64));
                    let payload = format!(
                        r#"{{"runId":"r","campaignId":"{id}","status":"running","number":{published},"at":{},"filler":"{filler}"}}"#,
                        micros()
                    );
                    memory.append(id, EventKind::Status, &payload);
                    published += 1;
                }
                // The log of this bench would grow for ever.
                memory.truncate(memory.last().saturating_sub(100));
                println!("published");
            }
            _ => println!("collected"),
        }
    }
}
