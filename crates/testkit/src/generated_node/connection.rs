//! One kept connection to a node: the least that any client needs for a request, to measure others against.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that is used again for each request.
#[derive(Debug)]
pub struct KeptConnection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl KeptConnection {
    /// Connects to a node.
    ///
    /// # Errors
    /// When it can't be reached.
    pub async fn open(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: Vec::new() })
    }

    /// The status and the body of the answer to a body.
    ///
    /// # Errors
    /// When the node ends the connection, or gives its answer no length.
    pub async fn post(&mut self, body: &str) -> std::io::Result<(u16, &[u8])> {
        let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let head = format!(
            "POST / HTTP/1.1\r\nhost: node\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.bytes.clear();
        loop {
            if self.stream.read_buf(&mut self.bytes).await? == 0 {
                return Err(broken());
            }
            let Some(end) = self.bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&self.bytes[..end]).to_lowercase();
            let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let total = end + 4 + length.unwrap_or(0_usize);
            self.bytes.reserve(total.saturating_sub(self.bytes.len()));
            while self.bytes.len() < total {
                if self.stream.read_buf(&mut self.bytes).await? == 0 {
                    return Err(broken());
                }
            }
            return Ok((status, &self.bytes[end + 4..]));
        }
    }
}
