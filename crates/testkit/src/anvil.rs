//! A private test node (`anvil`), bound to 127.0.0.1, that mines only on demand. May start and signal that process, and
//! write into its temporary directory. Never panics: the demo uses it too.

mod client;
mod contract;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

pub use contract::{Contracts, Emission};

use crate::local_port::free_port;
use crate::process::OwnedProcess;
pub use client::post;
pub(crate) use client::post_to;

const POLL: Duration = Duration::from_millis(10);
const PORT_ATTEMPTS: usize = 20;
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LOG_FILE: &str = "anvil.log";
/// The number of blocks whose state is kept: views can be called at them, and a reorganisation can go back to them.
const STATES: u64 = 500;
/// The first of anvil's accounts, unlocked.
const SENDER: &str = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266";

/// Why the test node could not be started or asked.
#[derive(Debug, thiserror::Error)]
pub enum AnvilError {
    /// The program isn't installed.
    #[error("starting `{program}`: there is no such program; run `scripts/needs anvil`, or name it in ANVIL")]
    NotInstalled {
        /// The program looked for.
        program: String,
    },
    /// The process can't be started or signalled, or its directory can't be written.
    #[error("{operation} anvil failed")]
    Process {
        /// What was tried.
        operation: &'static str,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It ended, or did not answer.
    #[error(
        "anvil on port {port} was not ready after {waited:.1?}: see whether it starts by itself, or name another one in ANVIL; its log says:\n{log}"
    )]
    NotReady {
        /// Its port.
        port: u16,
        /// How long was waited.
        waited: Duration,
        /// The last lines it wrote.
        log: String,
    },
    /// A request failed.
    #[error("asking anvil for {method}: {problem}")]
    Request {
        /// The JSON-RPC method.
        method: String,
        /// What went wrong.
        problem: String,
    },
}

/// A running (or killed) test node. Dropping it kills the process.
#[derive(Debug)]
pub struct Anvil {
    // Dropped in this order: first the process, then the directory it writes to.
    process: Option<OwnedProcess>,
    port: u16,
    chain_id: u64,
    dir: TempDir,
}

impl Anvil {
    /// Starts a node of chain 31337 with a genesis block and nothing else.
    ///
    /// # Errors
    /// When `anvil` is missing or does not answer in time.
    pub async fn start() -> Result<Self, AnvilError> {
        Self::start_with(31_337).await
    }

    /// Starts a node of another chain.
    ///
    /// # Errors
    /// As for [`Anvil::start`].
    pub async fn start_with(chain_id: u64) -> Result<Self, AnvilError> {
        let process = |operation| move |source| AnvilError::Process { operation, source };
        let dir = tempfile::Builder::new().prefix("anvil-").tempdir().map_err(process("making room for"))?;
        let mut anvil = Self { process: None, port: 0, chain_id, dir };
        let mut last = None;
        for _ in 0..PORT_ATTEMPTS {
            let Some(port) = free_port() else { break };
            anvil.port = port;
            match anvil.launch().await {
                Ok(()) => return Ok(anvil),
                // Another process took the port meanwhile: try another.
                Err(error @ AnvilError::NotReady { .. }) if anvil.log().contains("in use") => {
                    last = Some(error)
                }
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or(AnvilError::NotReady {
            port: 0,
            waited: Duration::ZERO,
            log: "no free port".into(),
        }))
    }

    /// A second node with a copy of the chain. From then on both are independent; blocks mined at the same time with
    /// the same transactions are equal on both.
    ///
    /// # Errors
    /// As for [`Anvil::start`] and [`Anvil::request`].
    pub async fn copy(&self) -> Result<Self, AnvilError> {
        let state = self.request("anvil_dumpState", json!([])).await?;
        let copy = Self::start_with(self.chain_id).await?;
        copy.request("anvil_loadState", json!([state])).await?;
        Ok(copy)
    }

    async fn launch(&mut self) -> Result<(), AnvilError> {
        let process = |operation| move |source| AnvilError::Process { operation, source };
        let log = std::fs::File::create(self.dir.path().join(LOG_FILE)).map_err(process("logging of"))?;
        let errors = log.try_clone().map_err(process("logging of"))?;
        let program = program();
        let mut command = Command::new(&program);
        // Transactions stay in the order in which they were sent, so that a block's events do.
        command.args([
            "--host",
            "127.0.0.1",
            "--no-mining",
            "--order",
            "fifo",
            "--port",
            &self.port.to_string(),
        ]);
        command.args(["--chain-id", &self.chain_id.to_string(), "--disable-block-gas-limit"]);
        // By default anvil writes the state of every old block into the user's home, 150 KB a block, where it stays
        // when the node is killed. No test asks for the state of older blocks.
        command.args(["--prune-history", &STATES.to_string()]).env("HOME", self.dir.path());
        command.current_dir(self.dir.path()).stdout(Stdio::from(log)).stderr(Stdio::from(errors));
        let mut child = OwnedProcess::spawn(&mut command, self.dir.path()).map_err(|source| {
            if source.kind() == std::io::ErrorKind::NotFound {
                return AnvilError::NotInstalled { program: program.display().to_string() };
            }
            AnvilError::Process { operation: "starting", source }
        })?;
        let started = Instant::now();
        while started.elapsed() < START_TIMEOUT {
            if child.exit_status().map_err(process("waiting for"))?.is_some() {
                break;
            }
            if self.request("eth_chainId", json!([])).await.is_ok_and(|id| number(&id) == Some(self.chain_id))
            {
                self.process = Some(child);
                return Ok(());
            }
            sleep(POLL).await;
        }
        Err(AnvilError::NotReady { port: self.port, waited: started.elapsed(), log: self.log() })
    }

    /// The node's own directory, which is also its HOME. Gone once the value is dropped.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join(LOG_FILE)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }

    /// The address to connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// `http://` URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// `ws://` URL.
    #[must_use]
    pub fn ws_url(&self) -> String {
        format!("ws://{}", self.addr())
    }

    /// Kills the process at once. Its chain is gone. Nothing happens when there is no process.
    ///
    /// # Errors
    /// When the process can't be killed.
    pub fn kill(&mut self) -> Result<(), AnvilError> {
        self.process
            .take()
            .map_or(Ok(()), |mut process| process.kill())
            .map_err(|source| AnvilError::Process { operation: "killing", source })
    }

    /// Pauses the process: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When there is no process.
    pub fn pause(&self) -> Result<(), AnvilError> {
        self.signal("pausing", Signal::STOP)
    }

    /// Resumes a paused process.
    ///
    /// # Errors
    /// When there is no process.
    pub fn resume(&self) -> Result<(), AnvilError> {
        self.signal("resuming", Signal::CONT)
    }

    fn signal(&self, operation: &'static str, signal: Signal) -> Result<(), AnvilError> {
        let gone = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let sent = self.process.as_ref().ok_or_else(gone).and_then(|process| process.signal(signal));
        sent.map_err(|source| AnvilError::Process { operation, source })
    }

    /// One JSON-RPC request, for everything without a method here.
    ///
    /// # Errors
    /// When the node refuses it or does not answer.
    pub async fn request(&self, method: &str, params: Value) -> Result<Value, AnvilError> {
        request(self.addr(), method, params).await
    }

    /// Mines one block, with the waiting transactions, a second after the last one.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn mine(&self) -> Result<(), AnvilError> {
        self.request("evm_mine", json!([])).await.map(drop)
    }

    /// Mines one block at a time in Unix seconds, which must be later than the last block's.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn mine_at(&self, time: u64) -> Result<(), AnvilError> {
        self.request("evm_mine", json!([{ "timestamp": time, "blocks": 1 }])).await.map(drop)
    }

    /// Mines `count` blocks, `interval` seconds apart; waiting transactions go into the first.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn mine_many(&self, count: u64, interval: u64) -> Result<(), AnvilError> {
        self.request("anvil_mine", json!([format!("{count:#x}"), format!("{interval:#x}")])).await.map(drop)
    }

    /// Replaces the last `depth` blocks by as many empty ones with other hashes.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn reorganise(&self, depth: u64) -> Result<(), AnvilError> {
        self.request("anvil_reorg", json!([depth, []])).await.map(drop)
    }

    /// Drops the last `depth` blocks; the chain is shorter then.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn roll_back(&self, depth: u64) -> Result<(), AnvilError> {
        self.request("anvil_rollback", json!([depth])).await.map(drop)
    }

    /// The height of the head.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn height(&self) -> Result<u64, AnvilError> {
        let height = self.request("eth_blockNumber", json!([])).await?;
        number(&height).ok_or_else(|| AnvilError::Request {
            method: "eth_blockNumber".to_owned(),
            problem: format!("{height} is no height"),
        })
    }

    /// Hash, parent's hash and time of the block at this height, if there is one.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn block(&self, height: u64) -> Result<Option<(String, String, u64)>, AnvilError> {
        let block = self.request("eth_getBlockByNumber", json!([format!("{height:#x}"), false])).await?;
        let text = |field: &str| block.get(field)?.as_str().map(str::to_owned);
        Ok((|| Some((text("hash")?, text("parentHash")?, number(block.get("timestamp")?)?)))())
    }

    /// Sends a transaction from the first account; it waits until a block is mined.
    ///
    /// # Errors
    /// As for [`Anvil::request`].
    pub async fn send(&self, to: Option<&str>, data: &str) -> Result<String, AnvilError> {
        let mut transaction = json!({ "from": SENDER, "data": data, "gas": "0x2dc6c00" });
        if let Some(to) = to {
            transaction["to"] = json!(to);
        }
        let hash = self.request("eth_sendTransaction", json!([transaction])).await?;
        Ok(hash.as_str().unwrap_or_default().to_owned())
    }
}

/// One JSON-RPC request over HTTP to any node.
///
/// # Errors
/// When the node refuses it or does not answer.
pub async fn request(addr: SocketAddr, method: &str, params: Value) -> Result<Value, AnvilError> {
    let answer = client::call(addr, method, params).await;
    answer.map_err(|problem| AnvilError::Request { method: method.to_owned(), problem })
}

/// The program: `ANVIL`, else the one in PATH, else where `scripts/needs` installs it for a user.
fn program() -> PathBuf {
    if let Some(named) = std::env::var_os("ANVIL").filter(|named| !named.is_empty()) {
        return named.into();
    }
    let in_path = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join("anvil").is_file()));
    let at_home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/bin/anvil"));
    match at_home {
        Some(at_home) if !in_path && at_home.is_file() => at_home,
        _ => PathBuf::from("anvil"),
    }
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
