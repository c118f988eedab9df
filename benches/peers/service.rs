//! The service in a process of its own, and what it costs.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use testkit::{RedisServer, wait_until};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::TcpStream,
    process::{Child, Command},
};

use crate::{client::Client, procfs};

pub(crate) const SOON: Duration = Duration::from_secs(120);
/// The log says so when the oldest samples are removed.
pub(crate) const FULL: &str = "has reached its limit of bytes";

/// A running service.
pub(crate) struct Service {
    child: Child,
    file: PathBuf,
    metrics: SocketAddr,
    /// For senders.
    pub(crate) sends: SocketAddr,
    /// For readers.
    pub(crate) reads: SocketAddr,
    /// Its warnings and errors.
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
}

/// An address that is free now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Service {
    /// Starts it with its history in this folder.
    pub(crate) async fn start(redis: &RedisServer, folder: &Path, more: &[(&str, &str)]) -> Self {
        let (sends, reads, file) = (free(), free(), folder.join("peers.db"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
            .env_clear()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", redis.port().to_string())
            .env("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF")
            .env("DATA_MARKET_ADDRESSES", "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c")
            .env("STATE_TRACKER_METRICS_PORT", "0")
            .env("STATE_TRACKER__HTTP__HOST", "127.0.0.1")
            .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
            .env("STATE_TRACKER__PEERS__HISTORY", &file)
            .env("STATE_TRACKER__PEERS__PROXY_ADDRESS", sends.to_string())
            .env("STATE_TRACKER__PEERS__POOL_ADDRESS", "127.0.0.1:0")
            .env("STATE_TRACKER__PEERS__PROXY_HTTP_ADDRESS", reads.to_string())
            .env("STATE_TRACKER__PEERS__POOL_HTTP_ADDRESS", "127.0.0.1:0")
            .env("STATE_TRACKER__PEERS__RATE_LIMIT", "1000000")
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
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let kept = warnings.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("WARN") || line.contains("ERROR") {
                    kept.lock().expect("no panic").push(line);
                }
            }
        });
        for port in [sends, reads] {
            wait_until("it is open", SOON, async || TcpStream::connect(port).await.is_ok()).await;
        }
        Self { child, file, metrics, sends, reads, warnings }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The seconds of CPU that it has used.
    pub(crate) fn cpu(&self) -> f64 {
        procfs::cpu(self.pid())
    }

    /// The most memory that it has had, in MB.
    pub(crate) fn memory(&self) -> f64 {
        procfs::memory(self.pid(), "VmHWM:") / 1e6
    }

    /// The bytes that it has written to the disk.
    pub(crate) fn written(&self) -> f64 {
        procfs::number(self.pid(), "io", "write_bytes:")
    }

    /// The bytes of the history and of its journal.
    pub(crate) fn bytes(&self) -> [u64; 2] {
        let wal = self.file.with_extension("db-wal");
        [&self.file, &wal].map(|path| fs::metadata(path).map_or(0, |file| file.len()))
    }

    /// The sum of a metric over its labels.
    pub(crate) async fn sum(&self, name: &str) -> f64 {
        let mut client = Client::connect(self.metrics).await;
        let text = client.ask("/metrics", "").await.body;
        let text = String::from_utf8(text).expect("a text");
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        let pid = self.pid().to_string();
        Command::new("kill").arg(pid).status().await.expect("kill runs");
        self.child.wait().await.expect("it ends");
    }
}
