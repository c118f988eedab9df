//! A bare client of Socket.IO, which costs little: it shares the machine with what it measures.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Connects, enters the namespace and joins a campaign.
pub(crate) async fn join(port: u16, token: &str, campaign: &str, bytes: &mut Vec<u8>) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    until(&mut stream, bytes, "maxPayload").await;
    let connect = format!(r#"40/campaigns,{{"token":"{token}"}}"#);
    stream.write_all(&frame(connect.as_bytes())).await.unwrap();
    until(&mut stream, bytes, "40/campaigns,{").await;
    let join = format!(r#"42/campaigns,1["join_campaign",{{"campaignId":"{campaign}"}}]"#);
    stream.write_all(&frame(join.as_bytes())).await.unwrap();
    // The latest status may follow at once: what comes after the answer stays.
    while !contains(&next(&mut stream, bytes).await.expect("it answers"), "Successfully joined") {}
    stream
}

/// The text of the next frame; nothing once the server has closed.
pub(crate) async fn next(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    loop {
        if let Some((start, end)) = next_frame(bytes) {
            let text = bytes[start..end].to_vec();
            bytes.drain(..end);
            return Some(text);
        }
        if stream.read_buf(bytes).await.unwrap_or(0) == 0 {
            return None;
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Reads until this text has come, and forgets what was read.
async fn until(stream: &mut TcpStream, bytes: &mut Vec<u8>, text: &str) {
    bytes.clear();
    while !contains(bytes, text) {
        assert!(stream.read_buf(bytes).await.unwrap() > 0, "{}", String::from_utf8_lossy(bytes));
    }
    bytes.clear();
}

/// A frame of a client with a mask of zeros.
pub(crate) fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match text.len() {
        short @ ..126 => frame.push(0x80 | short as u8),
        medium => {
            frame.push(0x80 | 126);
            frame.extend((medium as u16).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(text);
    frame
}

/// Where the text of the first frame is, if it is whole.
fn next_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes.get(1)? {
        short @ ..126 => (2, usize::from(short)),
        126 => (4, usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]))),
        _ => panic!("no such large frame is expected"),
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}
