//! The service, and its figures.

use std::{
    fs,
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{EVENTS, Run, publish::burst};

const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Service {
    child: Child,
    metrics: SocketAddr,
}

/// What became of the events with the index.
pub(crate) struct Indexed {
    pub(crate) written: f64,
    pub(crate) dropped: f64,
    /// From the end of the burst until the last was written.
    pub(crate) took: Duration,
}

impl Service {
    /// Starts it, and waits until it is ready.
    pub(crate) async fn start(redis: &RedisServer, more: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
            .env_clear()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", redis.port().to_string())
            .env("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF")
            .env("DATA_MARKET_ADDRESSES", "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c")
            .env("STATE_TRACKER_METRICS_PORT", "0")
            .env("STATE_TRACKER__HTTP__HOST", "127.0.0.1")
            .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
            .env("STATE_TRACKER__LOG__FORMAT", "json")
            .envs(more.iter().copied())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let metrics = loop {
            let line = lines.next_line().await.expect("read").expect("it opens its ports");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            if let Some(port) = line["metrics"].as_str() {
                break port.parse().expect("an address");
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let service = Self { child, metrics };
        wait_until("it is ready", SOON, async || service.ask("/readyz").await.starts_with("HTTP/1.1 200"))
            .await;
        service
    }

    /// Lets it read the burst.
    pub(crate) async fn run(&self, redis: &RedisServer) -> Run {
        let before = self.cpu();
        let took = burst(redis).await;
        let mut gaps = 0.0;
        wait_until("the events are counted, or there is a gap", SOON, async || {
            let text = self.ask("/metrics").await;
            gaps = sum(&text, "state_tracker_subscription_gaps_total");
            let counted = sum(&text, "state_tracker_events_received_total")
                + sum(&text, "state_tracker_events_dropped_total");
            gaps > 0.0 || counted >= EVENTS as f64
        })
        .await;
        Run { took, cpu: self.cpu() - before, is_cut: gaps > 0.0 }
    }

    /// Waits until the indexer has written all events that were not dropped.
    pub(crate) async fn indexed(&self) -> Indexed {
        let began = Instant::now();
        let (mut written, mut dropped, mut changed) = (-1.0, 0.0, Instant::now());
        // The last of the events may have been dropped, which is counted with the next one: so until nothing changes.
        while changed.elapsed() < Duration::from_secs(1) {
            let text = self.ask("/metrics").await;
            let of = |outcome: &str| {
                sum(&text, &format!("state_tracker_index_events_total{{outcome=\"{outcome}\"}}"))
            };
            let now = of("indexed") + of("refused") + of("backwards");
            if now > written {
                (written, changed) = (now, Instant::now());
            }
            dropped = of("dropped") + sum(&text, "state_tracker_events_dropped_total");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Indexed { written, dropped, took: changed - began }
    }

    /// The most memory that it has had, in MB.
    pub(crate) fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("procfs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kilobytes * 1_024.0 / 1e6
    }

    /// The seconds of CPU that all its threads have used.
    fn cpu(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).expect("procfs");
        let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("schedstat")).ok();
        let ran = |text: String| text.split_whitespace().next()?.parse::<f64>().ok();
        tasks.flatten().filter_map(of).filter_map(ran).sum::<f64>() / 1e9
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    async fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        let pid = self.pid().to_string();
        Command::new("kill").arg(pid).status().await.expect("kill runs");
        self.child.wait().await.expect("it ends");
    }
}

/// The sum of a metric over its labels, or of the one series that is named with its labels.
fn sum(text: &str, name: &str) -> f64 {
    let is_of = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    text.lines().filter(is_of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}
