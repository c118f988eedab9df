//! The service in a process of its own, as its users run it, and what it costs.

#![allow(dead_code, reason = "each bench uses a part of it")]

#[path = "../procfs/mod.rs"]
pub(crate) mod procfs;

use std::{
    net::SocketAddr,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A running service.
pub(crate) struct Service {
    child: Child,
    metrics: SocketAddr,
}

impl Service {
    /// Starts it with one market and these settings, and waits until it is ready.
    pub(crate) async fn start(redis: &RedisServer, more: &[(&str, &str)]) -> Self {
        let market = ("DATA_MARKET_ADDRESSES", "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c");
        let service = Self::launch(redis, &[&[market], more].concat()).await;
        wait_until("it is ready", SOON, async || service.is_ready().await).await;
        service
    }

    /// Starts it with these settings, which name its markets, and waits until its ports are open.
    pub(crate) async fn launch(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
            .env_clear()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", redis.port().to_string())
            .env("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF")
            .env("STATE_TRACKER_METRICS_PORT", "0")
            .env("STATE_TRACKER__HTTP__HOST", "127.0.0.1")
            .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
            .env("STATE_TRACKER__LOG__FORMAT", "json")
            .envs(settings.iter().copied())
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
        Self { child, metrics }
    }

    pub(crate) async fn is_ready(&self) -> bool {
        self.ask("/readyz").await.starts_with("HTTP/1.1 200")
    }

    /// The most memory that it has had, in MB.
    pub(crate) fn memory(&self) -> f64 {
        procfs::memory(self.pid(), "VmHWM:") / 1e6
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// An answer of its port for operators, with its head.
    pub(crate) async fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.metrics).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("answered");
        text
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        let pid = self.pid().to_string();
        Command::new("kill").arg(pid).status().await.expect("kill runs");
        self.child.wait().await.expect("it ends")
    }
}

/// The sum of a metric over its labels, of which each series must have this one; or that of the one series that is named with its labels.
pub(crate) fn sum(text: &str, name: &str, label: &str) -> f64 {
    let is_of = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
    };
    let lines = text.lines().filter(is_of);
    // A sum of nothing would be -0.
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum::<f64>() + 0.0
}
