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
    let mut stream = TcpStream::connect(addr).await?;
    let head = format!(
        "POST / HTTP/1.1\r\nhost: {addr}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").ok_or_else(broken)?;
    Ok(answer.split_off(end + 4))
}
