//! A JSON-RPC request over HTTP/1.1, one connection each: small, so that tests use no client of the product.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The result of one call, or what went wrong.
pub(super) async fn call(addr: SocketAddr, method: &str, params: Value) -> Result<Value, String> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = post(addr, &request.to_string()).await.map_err(|source| source.to_string())?;
    let mut answer: Value = serde_json::from_slice(&answer).map_err(|source| source.to_string())?;
    match answer.get("error") {
        Some(error) => Err(error.to_string()),
        None => Ok(answer["result"].take()),
    }
}

/// The body of the answer to a body, over HTTP.
///
/// # Errors
/// When the node can't be reached, or ends the answer early.
pub async fn post(addr: SocketAddr, body: &str) -> std::io::Result<Vec<u8>> {
    post_to(addr, "/", body).await
}

/// The same for a path.
///
/// # Errors
/// As [`post`].
pub(crate) async fn post_to(addr: SocketAddr, path: &str, body: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    // Not to the end of the connection: some servers keep it open.
    while whole(&answer).is_none_or(|length| answer.len() < length) {
        if stream.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    let end = end_of_head(&answer).ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok(answer.split_off(end))
}

/// Where the head of an answer ends.
fn end_of_head(answer: &[u8]) -> Option<usize> {
    answer.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The length of an answer with its head, if that tells it.
fn whole(answer: &[u8]) -> Option<usize> {
    let end = end_of_head(answer)?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let (_, length) = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"))?;
    Some(end + length.trim().parse::<usize>().ok()?)
}
