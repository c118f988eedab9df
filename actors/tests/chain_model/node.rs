//! A node over HTTP that serves branches of the scripted chain: JSON-RPC, single calls and batches. It shares no code with the
//! product. Its faults: other heads by turns, silence, no receipts, no filter of the logs.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::script::{CONTRACT, Event, Id, MARKETS, Script, cid};

/// keccak256 of the events' signatures.
const RELEASED: &str = "0xf7d2257d4a1c445138ab52bd3c22425bfed29da81d0173961c697dc14fcba60c";
const DAY_STARTED: &str = "0x9bf380fe36617cd5d995968abb4ae6d3657a763c126535d590b4503ff2542426";
const SUBMITTED: &str = "0xcbd08c0021940d15cc732c670afbb27d5170795ee3a4ba0e47368452fae58c5d";
const COMPLETED: &str = "0x5ed90e6a0e12831302fecf13a2cc6f7e9439fed821340d0bddc4ae305dbf9c30";

/// What the contract's view functions say, but for the day.
pub const DAY_SIZE: u64 = 86_400_000_000;
pub const QUOTA: u64 = 10;
pub const EPOCHS_IN_A_DAY: u64 = 7_200;
pub const NODES: u64 = 40;

/// How a node behaves.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Its heads, by turns of the requests; empty: it drops every connection.
    pub heads: Vec<Id>,
    /// The length of windows that the contracts give at first.
    pub window: u64,
    /// The markets of which the contract answers nothing.
    pub failing: BTreeSet<usize>,
    /// Whether the contracts tell the day.
    pub tells_days: bool,
    pub serves_receipts: bool,
    pub has_bloom: bool,
}

struct Shared {
    script: Arc<Mutex<Script>>,
    behaviour: Mutex<Behaviour>,
    /// The blocks that it has ever had, which it finds by their hashes.
    known: Mutex<BTreeSet<Id>>,
    /// Requests for the head, by the path of the URL.
    polls: Mutex<BTreeMap<String, u64>>,
    requests: Mutex<usize>,
    /// How often contracts were asked.
    calls: AtomicU64,
}

pub struct Node {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    pub async fn start(script: Arc<Mutex<Script>>, behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            script,
            behaviour: Mutex::new(behaviour),
            known: Mutex::default(),
            polls: Mutex::default(),
            requests: Mutex::default(),
            calls: AtomicU64::new(0),
        });
        shared.learn();
        let serving = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = serving.clone();
                // An error means that the client is gone.
                tokio::spawn(async move { drop(serve(stream, &shared).await) });
            }
        });
        Self { addr, shared, accepting }
    }

    /// The URL for the reader of this name, by which its requests are counted.
    pub fn url(&self, reader: usize) -> String {
        format!("http://{}/{reader}", self.addr)
    }

    pub fn behave(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.shared.behaviour));
        self.shared.learn();
    }

    pub fn heads(&self) -> Vec<Id> {
        lock(&self.shared.behaviour).heads.clone()
    }

    /// How often this reader has asked for the head.
    pub fn polls(&self, reader: usize) -> u64 {
        lock(&self.shared.polls).get(&format!("/{reader}")).copied().unwrap_or(0)
    }
}

impl Node {
    /// How often contracts were asked.
    pub fn calls(&self) -> u64 {
        self.shared.calls.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn learn(&self) {
        let heads = lock(&self.behaviour).heads.clone();
        let script = lock(&self.script);
        for head in heads {
            lock(&self.known).extend(script.branch(head));
        }
    }

    /// The results or errors of the calls of one request, all by one head.
    fn answer(&self, path: &str, calls: &[Value]) -> Option<Vec<Value>> {
        let behaviour = lock(&self.behaviour).clone();
        let head = {
            let mut requests = lock(&self.requests);
            *requests += 1;
            *behaviour.heads.get(*requests % behaviour.heads.len().max(1))?
        };
        let script = lock(&self.script);
        let view = View { script: &script, branch: script.branch(head), behaviour: &behaviour, shared: self };
        let mut answers = Vec::new();
        for call in calls {
            if call["method"] == "eth_call" {
                self.calls.fetch_add(1, Ordering::Relaxed);
            }
            if call["params"][0] == "latest" {
                *lock(&self.polls).entry(path.to_owned()).or_default() += 1;
            }
            let mut answer = json!({ "jsonrpc": "2.0", "id": call["id"] });
            match view.result(call) {
                Ok(result) => answer["result"] = result,
                Err((code, message)) => answer["error"] = json!({ "code": code, "message": message }),
            }
            answers.push(answer);
        }
        Some(answers)
    }
}

/// The chain as a node sees it during one request.
struct View<'a> {
    script: &'a Script,
    branch: Vec<Id>,
    behaviour: &'a Behaviour,
    shared: &'a Shared,
}

fn word(number: u64) -> String {
    format!("{number:064x}")
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// The data of a submitted batch: a text and a time.
fn submitted(cid: &str, time: u64) -> String {
    let bytes: String = cid.bytes().map(|byte| format!("{byte:02x}")).collect();
    let padded = bytes.len().div_ceil(64) * 64;
    format!("{}{}{}{bytes:0<padded$}", word(64), word(time), word(cid.len() as u64))
}

impl View<'_> {
    fn result(&self, call: &Value) -> Result<Value, (i64, &'static str)> {
        let params = &call["params"];
        let result = match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => json!("0x7a69"),
            "eth_blockNumber" => json!(format!("{:#x}", self.branch.len() - 1)),
            "eth_getBlockByNumber" => self.at(&params[0]).map_or(Value::Null, |id| self.header(id)),
            "eth_getBlockByHash" => self.of(&params[0]).map_or(Value::Null, |id| self.header(id)),
            "eth_getLogs" => {
                let filter = &params[0];
                let blocks = if filter["blockHash"].is_null() {
                    let (from, to) = (self.at(&filter["fromBlock"]), self.at(&filter["toBlock"]));
                    let (Some(from), Some(to)) = (from, to) else {
                        return Err((-32_000, "block range extends beyond current head block"));
                    };
                    let [from, to] = [from, to].map(|id| self.script.blocks[id].number as usize);
                    self.branch.get(from..=to).unwrap_or_default().to_vec()
                } else {
                    vec![self.of(&filter["blockHash"]).ok_or((-32_000, "unknown block"))?]
                };
                Value::Array(blocks.into_iter().flat_map(|id| self.logs(id)).collect())
            }
            "eth_getBlockReceipts" if self.behaviour.serves_receipts => match self.of(&params[0]) {
                Some(id) => json!([{ "logs": self.logs(id) }]),
                None => Value::Null,
            },
            "eth_call" => {
                let data = params[0]["data"].as_str().or(params[0]["input"].as_str()).unwrap_or_default();
                // Some nodes take no hash, and are asked by number.
                if params[1].is_object() && !self.script.takes_hashes() {
                    return Err((-32_602, "invalid argument 1: expected a string"));
                }
                let at = self.at(&params[1]).ok_or((-32_000, "header not found"))?;
                let market = MARKETS.iter().position(|market| data.ends_with(&market[2..]));
                if market.is_some_and(|market| self.behaviour.failing.contains(&market)) {
                    return Err((3, "execution reverted"));
                }
                let answer = match data.get(..10).unwrap_or_default() {
                    "0xf3354db0" => {
                        let market = market.ok_or((3, "execution reverted"))?;
                        self.script.length(market, at).unwrap_or(self.behaviour.window)
                    }
                    "0x04a0a5bb" => DAY_SIZE,
                    "0x095cb210" => QUOTA,
                    "0x02143405" if !self.behaviour.tells_days => return Err((3, "execution reverted")),
                    "0x02143405" => self.script.day(market.ok_or((3, "execution reverted"))?, at),
                    "0x0a1b7227" => EPOCHS_IN_A_DAY,
                    "0x4110fe25" => NODES,
                    _ => return Err((3, "execution reverted")),
                };
                json!(format!("0x{}", word(answer)))
            }
            _ => return Err((-32_601, "the method does not exist")),
        };
        Ok(result)
    }

    /// The block of a tag, or of a hash.
    fn at(&self, tag: &Value) -> Option<Id> {
        if tag.is_object() {
            return self.of(&tag["blockHash"]);
        }
        match tag.as_str()? {
            "latest" => self.branch.last().copied(),
            _ => self.branch.get(number(tag)? as usize).copied(),
        }
    }

    fn of(&self, hash: &Value) -> Option<Id> {
        let id = self.script.of(hash.as_str()?)?;
        lock(&self.shared.known).contains(&id).then_some(id)
    }

    fn header(&self, id: Id) -> Value {
        let block = &self.script.blocks[id];
        let nothing = format!("0x{}", word(0));
        let parent = if id == 0 { &nothing } else { self.script.hash(block.parent) };
        let mut header = json!({
            "number": format!("{:#x}", block.number), "hash": self.script.hash(id), "parentHash": parent,
            "timestamp": format!("{:#x}", block.time),
        });
        // A filter with all bits or none needs no hashing, and never denies a log that is there.
        if self.behaviour.has_bloom {
            let bits = if self.logs(id).is_empty() { "00" } else { "ff" };
            header["logsBloom"] = json!(format!("0x{}", bits.repeat(256)));
        }
        header
    }

    fn logs(&self, id: Id) -> Vec<Value> {
        let block = &self.script.blocks[id];
        let log = |(index, event): (usize, &Event)| {
            let words = |all: &[u64]| all.iter().copied().map(word).collect::<String>();
            let (market, topic, epoch, data) = match event {
                Event::Released { market, epoch } => {
                    (market, RELEASED, Some(epoch), words(&[1, 2, block.time]))
                }
                Event::Broken { market, epoch } => (market, RELEASED, Some(epoch), words(&[1])),
                Event::Completed { market, epoch } => (market, COMPLETED, Some(epoch), words(&[block.time])),
                Event::Day { market, day } => (market, DAY_STARTED, None, words(&[*day, block.time])),
                Event::Submitted { market, epoch, batch } => {
                    (market, SUBMITTED, Some(epoch), submitted(&cid((*market, *epoch, *batch)), block.time))
                }
                Event::Length { .. } => return None,
            };
            let mut topics = vec![topic.to_owned(), format!("0x{:0>64}", &MARKETS[*market][2..])];
            topics.extend(epoch.map(|epoch| format!("0x{}", word(*epoch))));
            Some(json!({
                "address": CONTRACT, "topics": topics, "data": format!("0x{data}"),
                "blockNumber": format!("{:#x}", block.number), "blockHash": self.script.hash(id),
                "logIndex": format!("{index:#x}"), "removed": false,
            }))
        };
        block.events.iter().enumerate().filter_map(log).collect()
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        while bytes.len() < end + length.unwrap_or(0) {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let rest = bytes.split_off(end + length.unwrap_or(0));
        let request: Value = serde_json::from_slice(&bytes[end..])?;
        bytes = rest;
        let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
        // Without a head it is silent.
        let Some(mut answers) = shared.answer(&path, &calls) else { return Ok(()) };
        let body = if request.is_array() { Value::Array(answers) } else { answers.remove(0) }.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).await?;
    }
}
