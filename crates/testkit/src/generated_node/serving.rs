//! The HTTP and JSON-RPC side of a generated node: connections are kept, answers are written as texts.

use std::fmt::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Count, Shared};

const TOO_WIDE: &str = r#"{"code":-32600,"message":"block range is too wide"}"#;
const NO_BATCHES: &str = r#"{"code":-32600,"message":"batch requests are not supported"}"#;
const UNKNOWN: &str = r#"{"code":-32601,"message":"Method not found"}"#;

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        // An error means that the client is gone.
        tokio::spawn(async move { drop(serve(stream, &shared).await) });
    }
}

/// Serves the requests of one connection, one after the other.
async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = Vec::new();
    loop {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        let total = end + 4 + length.unwrap_or(0);
        while bytes.len() < total {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let request: Value = serde_json::from_slice(&bytes[end + 4..total])?;
        bytes.drain(..total);
        if !shared.limits.latency.is_zero() {
            tokio::time::sleep(shared.limits.latency).await;
        }
        let (status, body) = shared.answer(&request);
        let mut answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        answer.push_str(&body);
        stream.write_all(answer.as_bytes()).await?;
    }
}

impl Shared {
    /// The status and the body of the answer to a request.
    fn answer(&self, request: &Value) -> (u16, String) {
        self.add(Count::Requests, 1);
        let calls = request.as_array().map_or(std::slice::from_ref(request), Vec::as_slice);
        if self.is_too_fast(calls.len() as u64) {
            self.add(Count::TooFast, 1);
            return (429, String::new());
        }
        let mut body = String::new();
        if request.is_array() && self.limits.no_batches {
            self.add(Count::TooLarge, 1);
            let _ = write!(body, r#"{{"jsonrpc":"2.0","id":null,"error":{NO_BATCHES}}}"#);
            return (200, body);
        }
        for call in calls {
            body.push(if body.is_empty() { '[' } else { ',' });
            let _ = write!(body, r#"{{"jsonrpc":"2.0","id":{},"#, call["id"]);
            self.push_outcome(call, &mut body);
            body.push('}');
        }
        if request.is_array() {
            body.push(']');
        } else {
            body.remove(0);
        }
        (200, body)
    }

    fn push_outcome(&self, call: &Value, body: &mut String) {
        let (chain, height, params) = (&self.chain, self.height.load(Ordering::Acquire), &call["params"]);
        let start = body.len();
        body.push_str(r#""result":"#);
        let header = |block: Option<u64>, body: &mut String| {
            self.add(Count::Headers, 1);
            match block.filter(|block| *block <= height) {
                Some(block) => chain.push_header(block, body),
                None => body.push_str("null"),
            }
        };
        match call["method"].as_str().unwrap_or_default() {
            // The id of anvil's chain, which tests use.
            "eth_chainId" => body.push_str(r#""0x7a69""#),
            "eth_blockNumber" => drop(write!(body, r#""{height:#x}""#)),
            "eth_getBlockByNumber" if params[0] == "latest" => header(Some(height), body),
            "eth_getBlockByNumber" => header(number(&params[0]), body),
            "eth_getBlockByHash" => header(params[0].as_str().and_then(|hash| chain.by_hash(hash)), body),
            "eth_getLogs" => {
                self.add(Count::Queries, 1);
                let filter = &params[0];
                let one = filter["blockHash"].as_str().map(|hash| chain.by_hash(hash));
                let bound = |name: &str| number(&filter[name]);
                let (from, to) = match one {
                    Some(block) => (block.unwrap_or(1), block.unwrap_or(0)),
                    None => (bound("fromBlock").unwrap_or(1), bound("toBlock").unwrap_or(height)),
                };
                if self.limits.blocks.is_some_and(|most| to.saturating_sub(from) >= most) {
                    self.add(Count::TooLarge, 1);
                    body.truncate(start);
                    let _ = write!(body, r#""error":{TOO_WIDE}"#);
                    return;
                }
                body.push('[');
                let before = body.len();
                (from..=to.min(height)).for_each(|block| chain.push_logs(block, body));
                if body.len() > before {
                    // The comma after the last one.
                    body.pop();
                }
                body.push(']');
            }
            // Every view of the contract, and its code.
            "eth_call" | "eth_getCode" => drop(write!(body, r#""0x{:064x}""#, 7)),
            _ => {
                body.truncate(start);
                let _ = write!(body, r#""error":{UNKNOWN}"#);
            }
        }
    }
}

fn number(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}
