//! The servers to measure, each in a process of its own, and what they cost.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use testkit::wait_until;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::TcpStream,
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::{
    procfs,
    scene::{SECRET, Scene},
};

pub(crate) const SOON: Duration = Duration::from_secs(120);
/// The driver of PostgreSQL for Node.
const PG: &str = "pg@8.23.1";

/// A running server of Socket.IO.
pub(crate) struct Server {
    child: Child,
    /// Of Node: it collects its garbage when it is told to.
    node: Option<(ChildStdin, Lines<BufReader<ChildStdout>>)>,
    pub(crate) port: u16,
}

/// The packages of Socket.IO, as `scripts/needs` installs them.
pub(crate) fn packages() -> PathBuf {
    if let Some(folder) = std::env::var_os("SOCKET_IO") {
        return folder.into();
    }
    let needs = include_str!("../../scripts/needs");
    let version = needs.lines().find_map(|line| line.strip_prefix("SOCKET_IO_VERSION=")).expect("a version");
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/root".into());
    Path::new(&home).join(format!(".cache/state-tracker/socket.io-{version}"))
}

/// An address that is free now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address")
}

impl Server {
    /// The service.
    pub(crate) async fn ours(scene: &Scene, more: &[(&str, &str)]) -> Self {
        let address = free();
        let child = Command::new(env!("CARGO_BIN_EXE_state-tracker"))
            .env_clear()
            .env("REDIS_HOST", "127.0.0.1")
            .env("REDIS_PORT", scene.redis.port().to_string())
            .env("DATABASE_URL", scene.url())
            // The service wants these; nothing of them is in this Redis.
            .env("PROTOCOL_STATE_CONTRACT", "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF")
            .env("DATA_MARKET_ADDRESSES", "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c")
            .env("STATE_TRACKER_METRICS_PORT", "0")
            .env("STATE_TRACKER__HTTP__HOST", "127.0.0.1")
            .env("STATE_TRACKER__HTTP__OPERATOR_ADDRESS", "127.0.0.1:0")
            .env("STATE_TRACKER__CAMPAIGNS__GATEWAY_ADDRESS", address.to_string())
            .env("STATE_TRACKER__CAMPAIGNS__JWT_SECRET", SECRET)
            .env("STATE_TRACKER__CAMPAIGNS__CONNECTS_PER_SECOND", "10000")
            .env("STATE_TRACKER__CAMPAIGNS__CONNECTS_PER_SECOND_PER_ADDRESS", "100000")
            .envs(more.iter().copied())
            .stderr(log())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        wait_until("it is open", SOON, async || TcpStream::connect(address).await.is_ok()).await;
        Self { child, node: None, port: address.port() }
    }

    /// The protocol's own server, with the driver of PostgreSQL in this folder.
    pub(crate) async fn node(scene: &Scene, folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/campaigns/server.js");
        let mut child = Command::new("node")
            .args([Path::new("--expose-gc"), &script, &packages(), folder])
            .args([scene.users_url(), SECRET.to_owned()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs: scripts/needs socket.io-client");
        let input = child.stdin.take().expect("piped");
        let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let port = output.next_line().await.expect("a line").expect("a port").parse().expect("a port");
        Self { child, node: Some((input, output)), port }
    }

    fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The seconds of CPU that it has used.
    pub(crate) fn cpu(&self) -> f64 {
        procfs::cpu(self.pid())
    }

    /// Its memory now, in bytes.
    pub(crate) async fn memory(&mut self) -> f64 {
        if let Some((input, output)) = &mut self.node {
            input.write_all(b"collect\n").await.expect("node reads");
            assert_eq!(output.next_line().await.expect("a line").expect("a line"), "collected");
        }
        procfs::memory(self.pid(), "VmRSS:")
    }

    /// Stops it and waits for its end.
    pub(crate) async fn stop(mut self) {
        let pid = self.pid().to_string();
        Command::new("kill").arg(pid).status().await.expect("kill runs");
        self.child.wait().await.expect("it ends");
    }
}

/// Where the service's log goes: nowhere, unless `CAMPAIGNS_LOG` asks for it.
fn log() -> Stdio {
    if std::env::var_os("CAMPAIGNS_LOG").is_some() { Stdio::inherit() } else { Stdio::null() }
}

/// Brings the driver of PostgreSQL for Node from npm.
pub(crate) async fn fetch_driver(folder: &Path) {
    let mut npm = Command::new("npm");
    let npm = npm.args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(folder).arg(PG);
    let output = npm.output().await.expect("npm runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
