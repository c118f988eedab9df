//! Wrong answers of a node. May ask the real node; keeps no state.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::anvil::post;

/// A wrong answer to every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RpcFault {
    /// 429, with `Retry-After` in seconds where given.
    TooManyRequests {
        /// Seconds.
        retry_after: Option<u64>,
    },
    /// This status, with `Retry-After` as this text.
    Later {
        /// The HTTP status.
        status: u16,
        /// The header's value, of whatever form.
        retry_after: &'static str,
    },
    /// An HTTP error without a body.
    Status(u16),
    /// JSON that ends early.
    MalformedJson,
    /// A result of the wrong form: a number instead of a list or an object.
    WrongForm,
    /// A result of this many bytes.
    Huge(usize),
    /// No answer, with the connection open.
    Silent,
    /// The id of another chain.
    ChainId(u64),
    /// As if the chain ended at this height: it lags.
    Frozen(u64),
    /// As if the chain had branched below this height: that block and those above it have other hashes, and the same contents.
    OtherBranch(u64),
    /// As if blocks and states below this height had been pruned.
    Pruned(u64),
    /// No logs, though the block has some.
    NoLogs,
    /// Reverts of the view functions of this market; its address in lower case without `0x`.
    Reverts(String),
    /// Neither logs nor receipts.
    NoLogsNorReceipts,
    /// Logs whose data end early.
    ShortLogs,
    /// "Too many results" for logs of more blocks than this.
    LogRange(u64),
}

/// The answer to the client.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn ok(body: Vec<u8>) -> Self {
        Self { status: 200, headers: Vec::new(), body }
    }
}

impl RpcFault {
    pub(super) async fn answer(&self, node: SocketAddr, request: &Value) -> std::io::Result<Answer> {
        match self {
            Self::TooManyRequests { retry_after } => {
                let headers =
                    retry_after.iter().map(|seconds| ("retry-after", seconds.to_string())).collect();
                Ok(Answer { status: 429, headers, body: b"slow down".to_vec() })
            }
            Self::Later { status, retry_after } => {
                let headers = vec![("retry-after", (*retry_after).to_owned())];
                Ok(Answer { status: *status, headers, body: b"later".to_vec() })
            }
            Self::Status(status) => Ok(Answer { status: *status, headers: Vec::new(), body: Vec::new() }),
            Self::MalformedJson => Ok(Answer::ok(br#"{"jsonrpc":"2.0","id":1,"result":{"num"#.to_vec())),
            Self::Huge(size) => {
                let mut body = br#"{"jsonrpc":"2.0","id":1,"result":""#.to_vec();
                body.resize(body.len() + size, b'x');
                body.extend_from_slice(br#""}"#);
                Ok(Answer::ok(body))
            }
            Self::Silent => std::future::pending().await,
            _ => {
                let answer = match request.as_array() {
                    None => self.call(node, request).await?,
                    Some(calls) => {
                        let mut answers = Vec::new();
                        for call in calls {
                            answers.push(self.call(node, call).await?);
                        }
                        Value::Array(answers)
                    }
                };
                Ok(Answer::ok(answer.to_string().into_bytes()))
            }
        }
    }

    /// Answers one call of a request.
    async fn call(&self, node: SocketAddr, call: &Value) -> std::io::Result<Value> {
        let method = call["method"].as_str().unwrap_or_default();
        let of_logs = method == "eth_getLogs";
        let result = |result: Value| Ok(json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }));
        let error = |message: &str| {
            Ok(json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32000, "message": message } }))
        };
        match self {
            Self::WrongForm if method != "eth_chainId" => return result(json!(7)),
            Self::ChainId(id) if method == "eth_chainId" => return result(json!(format!("{id:#x}"))),
            Self::Reverts(market)
                if method == "eth_call"
                    && call["params"][0].to_string().to_lowercase().contains(market.as_str()) =>
            {
                return Ok(json!({
                    "jsonrpc": "2.0", "id": call["id"], "error": { "code": 3, "message": "execution reverted", "data": "0x" },
                }));
            }
            Self::NoLogs | Self::NoLogsNorReceipts if of_logs => return result(json!([])),
            Self::NoLogsNorReceipts if method == "eth_getBlockReceipts" => {
                return Ok(json!({
                    "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32601, "message": "no such method" },
                }));
            }
            Self::Pruned(below) if method == "eth_call" && is_below(&call["params"][1], *below) => {
                return error("missing trie node 4711");
            }
            Self::Pruned(below) if of_logs && is_below(&call["params"][0]["fromBlock"], *below) => {
                return error("history has been pruned");
            }
            Self::LogRange(limit) if of_logs => {
                let bound = |name: &str| number(&call["params"][0][name]);
                if let (Some(from), Some(to)) = (bound("fromBlock"), bound("toBlock"))
                    && to - from >= *limit
                {
                    return error("query returned more than 10000 results");
                }
            }
            _ => {}
        }
        let mut call = call.clone();
        if let Self::OtherBranch(from) = self
            && !ask_for_twin(node, &mut call, *from).await?
        {
            // The block is on the real branch, which this node does not know.
            return if of_logs { error("unknown block") } else { result(Value::Null) };
        }
        if let Self::Frozen(at) = self {
            let at_text = json!(format!("{at:#x}"));
            if call["params"][0] == "latest" {
                call["params"][0] = at_text;
            } else if call["params"][1] == "latest" {
                call["params"][1] = at_text;
            } else if of_logs
                && height_of(node, &call["params"][0]["blockHash"]).await?.is_some_and(|n| n > *at)
            {
                return error("unknown block");
            }
        }
        let answer = post(node, &call.to_string()).await?;
        let mut answer: Value = serde_json::from_slice(&answer)?;
        match self {
            Self::OtherBranch(from) => rename(&mut answer["result"], *from),
            Self::Frozen(at) if method == "eth_blockNumber" => answer["result"] = json!(format!("{at:#x}")),
            Self::Pruned(below)
                if number(&answer["result"]["number"]).is_some_and(|height| height < *below) =>
            {
                answer["result"] = Value::Null;
            }
            Self::Frozen(at) if number(&answer["result"]["number"]).is_some_and(|height| height > *at) => {
                answer["result"] = Value::Null;
            }
            Self::ShortLogs if of_logs => {
                for log in answer["result"].as_array_mut().into_iter().flatten() {
                    log["data"] = json!("0x00");
                }
            }
            _ => {}
        }
        Ok(answer)
    }
}

/// The name of a block on the other branch, and back.
fn twin(hash: &Value) -> Option<Value> {
    let text = hash.as_str().filter(|text| text.len() == 66)?;
    let (start, last) = text.split_at(65);
    let last = u8::from_str_radix(last, 16).ok()? ^ 1;
    Some(json!(format!("{start}{last:x}")))
}

/// Puts the real name of a block into a call that asks for one of the other branch. Returns whether that branch has the block.
async fn ask_for_twin(node: SocketAddr, call: &mut Value, from: u64) -> std::io::Result<bool> {
    let asked = [&call["params"][0]["blockHash"], &call["params"][1]["blockHash"], &call["params"][0]];
    let Some((hash, other)) = asked.into_iter().find_map(|hash| Some((hash.clone(), twin(hash)?))) else {
        return Ok(true);
    };
    if height_of(node, &hash).await?.is_some_and(|height| height >= from) {
        return Ok(false);
    }
    if height_of(node, &other).await?.is_some_and(|height| height >= from) {
        let text =
            call.to_string().replace(hash.as_str().unwrap_or_default(), other.as_str().unwrap_or_default());
        *call = serde_json::from_str(&text)?;
    }
    Ok(true)
}

/// Gives blocks, logs and receipts of the other branch their names there.
fn rename(value: &mut Value, from: u64) {
    if let Value::Array(items) = value {
        items.iter_mut().for_each(|item| rename(item, from));
        return;
    }
    let Some(fields) = value.as_object_mut() else { return };
    let block = fields.get("number").and_then(number);
    let of_block = fields.get("blockNumber").and_then(number);
    for (name, height, first) in
        [("hash", block, from), ("parentHash", block, from + 1), ("blockHash", of_block, from)]
    {
        if height.is_some_and(|height| height >= first)
            && let Some(hash) = fields.get_mut(name)
            && let Some(other) = twin(hash)
        {
            *hash = other;
        }
    }
    if let Some(logs) = fields.get_mut("logs") {
        rename(logs, from);
    }
}

async fn height_of(node: SocketAddr, hash: &Value) -> std::io::Result<Option<u64>> {
    if !hash.is_string() {
        return Ok(None);
    }
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getBlockByHash", "params": [hash, false] });
    let answer: Value = serde_json::from_slice(&post(node, &call.to_string()).await?)?;
    Ok(number(&answer["result"]["number"]))
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

fn is_below(value: &Value, height: u64) -> bool {
    number(value).is_some_and(|number| number < height)
}
