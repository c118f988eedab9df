//! A node of generated blocks over HTTP, which refuses requests by a rule. It shares no code with the product.

#![allow(dead_code, clippy::unwrap_used, reason = "each test file uses a part of it; a test may panic")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use alloy_core::primitives::{B256, Bloom, BloomInput};
use domain::chain::{BlockRef, Hash};
use evm::{ChainConfig, Contracts};
use retry::{RetryPolicy, table};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const CONTRACT: &str = "0x00000000000000000000000000000000000000aa";
const MARKET: &str = "0x00000000000000000000000000000000000000bb";
/// keccak256("EpochReleased(address,uint256,uint256,uint256,uint256)")
const RELEASED: &str = "0xf7d2257d4a1c445138ab52bd3c22425bfed29da81d0173961c697dc14fcba60c";

/// A chain whose blocks release the epoch of their number.
#[derive(Clone, Debug)]
pub(crate) struct Generated {
    /// The first block of this branch; those below are on every branch.
    pub(crate) fork: u64,
    /// Distinguishes the hashes of branches.
    pub(crate) branch: u8,
    pub(crate) height: u64,
    /// The time of the genesis block.
    pub(crate) start: u64,
    pub(crate) bloom: BloomForm,
    /// Whether the logs lack a part of their data.
    pub(crate) has_bad_logs: bool,
    /// What the newest header claims beyond the truth: blocks and seconds.
    pub(crate) head_ahead: (u64, u64),
}

/// The form of `logsBloom` in headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BloomForm {
    Right,
    Absent,
    Empty,
    Saturated,
}

impl Generated {
    pub(crate) fn new(height: u64) -> Self {
        let start = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() - 100_000;
        Self {
            fork: 0,
            branch: 0,
            height,
            start,
            bloom: BloomForm::Right,
            has_bad_logs: false,
            head_ahead: (0, 0),
        }
    }

    /// Another branch from `fork` on.
    pub(crate) fn branch(&self, fork: u64, branch: u8, height: u64) -> Self {
        Self { fork, branch, height, ..self.clone() }
    }

    fn hash(&self, number: u64) -> [u8; 32] {
        let mut hash = [0; 32];
        hash[0] = 1 + if number >= self.fork { self.branch } else { 0 };
        hash[24..].copy_from_slice(&number.to_be_bytes());
        hash
    }

    pub(crate) fn block(&self, number: u64) -> BlockRef {
        let parent = number.checked_sub(1).map_or([0; 32], |parent| self.hash(parent));
        BlockRef {
            number,
            hash: Hash(self.hash(number)),
            parent: Hash(parent),
            time: self.start + 2 * number,
        }
    }

    /// The epochs that blocks of this range release: one in three blocks does.
    pub(crate) fn epochs(from: u64, to: u64) -> Vec<u64> {
        (from..=to).filter(|number| number.is_multiple_of(3)).collect()
    }

    fn logs(&self, number: u64) -> Vec<Value> {
        let word = |number: u64| format!("{number:064x}");
        let mut log = json!({
            "address": CONTRACT,
            "topics": [RELEASED, format!("0x{:0>64}", &MARKET[2..]), format!("0x{}", word(number))],
            "data": format!("0x{}{}{}", word(1), word(2), word(3)),
            "blockNumber": format!("{number:#x}"), "blockHash": text(self.hash(number)), "logIndex": "0x0",
        });
        if self.has_bad_logs {
            log["data"] = json!("0x00");
        }
        if number.is_multiple_of(3) && number > 0 { vec![log] } else { Vec::new() }
    }

    fn header(&self, number: u64) -> Value {
        let block = self.block(number);
        let mut header = json!({
            "number": format!("{number:#x}"), "hash": text(block.hash.0), "parentHash": text(block.parent.0),
            "timestamp": format!("{:#x}", block.time),
        });
        match self.bloom {
            BloomForm::Right => header["logsBloom"] = json!(self.bloom(number).to_string()),
            BloomForm::Saturated => header["logsBloom"] = json!(format!("0x{}", "ff".repeat(256))),
            BloomForm::Empty => header["logsBloom"] = json!("0x"),
            BloomForm::Absent => {}
        }
        header
    }

    fn bloom(&self, number: u64) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in self.logs(number) {
            let topics = log["topics"].as_array().unwrap().iter();
            for text in topics.chain([&log["address"]]) {
                let bytes = alloy_core::primitives::hex::decode(text.as_str().unwrap()).unwrap();
                bloom.accrue(BloomInput::Raw(&bytes));
            }
        }
        bloom
    }

    fn by_hash(&self, hash: &Value) -> Option<u64> {
        (0..=self.height).find(|number| json!(text(self.hash(*number))) == *hash)
    }

    pub(crate) fn result(&self, call: &Value) -> Value {
        let params = &call["params"];
        match call["method"].as_str().unwrap() {
            "eth_chainId" => json!("0x7a69"),
            "eth_subscribe" => json!("0x1"),
            "eth_getBlockByNumber" if params[0] == "latest" => {
                let (blocks, seconds) = self.head_ahead;
                let mut header = self.header(self.height);
                header["number"] = json!(format!("{:#x}", self.height + blocks));
                header["timestamp"] = json!(format!("{:#x}", self.block(self.height).time + seconds));
                header
            }
            "eth_getBlockByNumber" => number(&params[0])
                .filter(|number| *number <= self.height)
                .map_or(Value::Null, |it| self.header(it)),
            "eth_getBlockByHash" => self.by_hash(&params[0]).map_or(Value::Null, |it| self.header(it)),
            "eth_getLogs" => {
                let filter = &params[0];
                let (from, to) = match self.by_hash(&filter["blockHash"]) {
                    Some(number) => (number, number),
                    None => {
                        (number(&filter["fromBlock"]).unwrap_or(1), number(&filter["toBlock"]).unwrap_or(0))
                    }
                };
                json!((from..=to.min(self.height)).flat_map(|number| self.logs(number)).collect::<Vec<_>>())
            }
            "eth_getBlockReceipts" => match self.by_hash(&params[0]) {
                Some(number) => json!([{ "logs": self.logs(number) }]),
                None => Value::Null,
            },
            "eth_call" => json!(format!("0x{:064x}", 7)),
            other => panic!("{other}"),
        }
    }
}

fn text(hash: [u8; 32]) -> String {
    B256::from(hash).to_string()
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The number of blocks of a query for logs by range.
pub(crate) fn blocks_of(call: &Value) -> Option<u64> {
    let filter = &call["params"][0];
    Some(number(&filter["toBlock"])? - number(&filter["fromBlock"])? + 1)
        .filter(|_| call["method"] == "eth_getLogs")
}

pub(crate) fn first_block_of(call: &Value) -> Option<u64> {
    number(&call["params"][0]["fromBlock"])
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The errors of some calls, with an HTTP status; the other calls are answered.
    Calls(u16, Vec<Option<Value>>),
    /// One error for the whole request.
    Whole(u16, Value),
    /// An error for the first call, and no other answers.
    First(Value),
    /// An HTTP status and a text.
    Text(u16, String),
    /// The connection is dropped.
    Drop,
    /// Nothing, for this time, and then the right answer.
    Late(Duration),
}

/// Decides about a request by its calls and by the number of requests before it; `None` answers rightly.
pub(crate) type Rule = Arc<dyn Fn(&[Value], usize) -> Option<Reply> + Send + Sync>;

/// A request that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) calls: Vec<Value>,
    pub(crate) refused: bool,
}

#[derive(Debug)]
pub(crate) struct TestNode {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    chain: Mutex<Generated>,
    rule: Mutex<Rule>,
    seen: Mutex<Vec<Seen>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl TestNode {
    pub(crate) async fn start(
        chain: &Generated,
        rule: impl Fn(&[Value], usize) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let rule: Rule = Arc::new(rule);
        let shared = Arc::new(Shared {
            chain: Mutex::new(chain.clone()),
            rule: Mutex::new(rule),
            seen: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                // An error means that the client is gone.
                tokio::spawn(async move { drop(serve(stream, &shared).await) });
            }
        });
        Self { addr, shared, accepting }
    }

    /// A node that answers everything rightly.
    pub(crate) async fn good(chain: &Generated) -> Self {
        Self::start(chain, |_, _| None).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Answers rightly from now on.
    pub(crate) fn mend(&self) {
        *self.shared.rule.lock().unwrap() = Arc::new(|_, _| None);
    }

    pub(crate) fn set_chain(&self, chain: Generated) {
        *self.shared.chain.lock().unwrap() = chain;
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The calls of each method so far.
    pub(crate) fn calls(&self) -> BTreeMap<String, usize> {
        let mut calls = BTreeMap::new();
        for call in self.seen().iter().flat_map(|seen| &seen.calls) {
            *calls.entry(call["method"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        calls
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    let body = loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(());
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if bytes.len() >= end + 4 + length.unwrap_or(0) {
            break bytes.split_off(end + 4);
        }
    };
    let request: Value = serde_json::from_slice(&body)?;
    let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
    let reply = {
        let mut seen = shared.seen.lock().unwrap();
        let rule = Arc::clone(&shared.rule.lock().unwrap());
        let reply = rule(&calls, seen.len());
        let refused = reply.as_ref().is_some_and(|reply| !matches!(reply, Reply::Late(_)));
        seen.push(Seen { at: Instant::now(), calls: calls.clone(), refused });
        reply
    };
    let chain = shared.chain.lock().unwrap().clone();
    let error = |id: &Value, error: &Value| json!({ "jsonrpc": "2.0", "id": id, "error": error });
    let answer = |call: &Value| json!({ "jsonrpc": "2.0", "id": call["id"], "result": chain.result(call) });
    let right = || calls.iter().map(answer).collect::<Vec<_>>();
    let list = |answers: Vec<Value>| match request.is_array() {
        true => Value::Array(answers),
        false => answers[0].clone(),
    };
    let (status, body) = match reply {
        None => (200, list(right()).to_string()),
        Some(Reply::Late(pause)) => {
            tokio::time::sleep(pause).await;
            (200, list(right()).to_string())
        }
        Some(Reply::Calls(status, errors)) => {
            let answer = |(call, refused): (&Value, &Option<Value>)| match refused {
                Some(refused) => error(&call["id"], refused),
                None => answer(call),
            };
            (status, list(calls.iter().zip(&errors).map(answer).collect()).to_string())
        }
        Some(Reply::Whole(status, refused)) => {
            let id = if request.is_array() { &Value::Null } else { &request["id"] };
            (status, error(id, &refused).to_string())
        }
        Some(Reply::First(refused)) => (200, list(vec![error(&calls[0]["id"], &refused)]).to_string()),
        Some(Reply::Text(status, text)) => (status, text),
        Some(Reply::Drop) => return Ok(()),
    };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// A configuration with these nodes and short pauses.
pub(crate) fn config_of(nodes: &[&TestNode]) -> ChainConfig {
    let urls = nodes.iter().map(|node| node.url().parse().unwrap()).collect();
    let contracts = Contracts { protocol_state: CONTRACT.parse().unwrap(), priorities: None };
    let pauses = |policy: RetryPolicy, first, longest| {
        let [first, longest] = [first, longest].map(Duration::from_millis);
        RetryPolicy { first, longest, ..policy }
    };
    ChainConfig {
        poll_interval: Duration::from_millis(20),
        request_timeout: Duration::from_secs(20),
        max_log_range: 32,
        after_failure: pauses(table::NODE_FAILED, 20, 100),
        after_rate_limit: pauses(table::NODE_RATE_LIMITED, FIRST_RATE_PAUSE, 200),
        after_wrong_answer: pauses(table::NODE_WRONG, 100, 400),
        ..ChainConfig::new(urls, contracts)
    }
}

/// The first pause after a rate limit in [`config_of`], in milliseconds.
pub(crate) const FIRST_RATE_PAUSE: u64 = 60;
