//! The wire of a client of Socket.IO that polls: sessions, packets, events. It shares no code with the gateway, so that a mistake
//! there is found.

use std::{net::SocketAddr, time::Duration};

use color_eyre::eyre::{OptionExt, Result, WrapErr, ensure, eyre};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take: the gateway pings more often.
const WITHIN: Duration = Duration::from_secs(60);
/// The largest answer, in bytes.
const LARGEST: u64 = 8 << 20;
/// What separates packets in a body.
pub(super) const SEPARATOR: char = '\u{1e}';
/// The namespace, with its comma.
const NAMESPACE: &str = "/campaigns,";

/// A packet that came.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Packet {
    /// The connection is asked for a sign of life.
    Ping,
    /// The namespace is joined.
    Connected,
    /// The answer to a request of this number.
    Answer(u64, Value),
    /// An event, with its first argument.
    Event(String, Value),
    /// Anything that ends the connection, with its text.
    End(String),
}

/// A session, which its requests name.
pub(super) struct Session {
    gateway: SocketAddr,
    path: String,
}

impl Session {
    /// Opens a session.
    ///
    /// # Errors
    /// A gateway that does not answer or refuses.
    pub(super) async fn open(gateway: SocketAddr) -> Result<Self> {
        let path = "/socket.io/?EIO=4&transport=polling".to_owned();
        let text = ask(gateway, "GET", &path, "").await?;
        let open = text.strip_prefix('0').ok_or_else(|| eyre!("no session: {text}"))?;
        let open: Value = serde_json::from_str(open)?;
        let id = open["sid"].as_str().ok_or_eyre("a session without an id")?;
        Ok(Self { gateway, path: format!("{path}&sid={id}") })
    }

    /// Waits for packets.
    ///
    /// # Errors
    /// As [`Self::open`], and packets that can't be read.
    pub(super) async fn poll(&self) -> Result<Vec<Packet>> {
        let text = ask(self.gateway, "GET", &self.path, "").await?;
        text.split(SEPARATOR).map(packet).collect()
    }

    /// Sends packets.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) async fn send(&self, packets: &str) -> Result<()> {
        ask(self.gateway, "POST", &self.path, packets).await.map(drop)
    }
}

/// The packet that joins the namespace.
pub(super) fn connect(token: &str) -> String {
    format!("40{NAMESPACE}{}", serde_json::json!({ "token": token }))
}

/// The packet of a request.
pub(super) fn request(number: u64, name: &str, argument: &Value) -> String {
    format!("42{NAMESPACE}{number}{}", serde_json::json!([name, argument]))
}

/// Reads a packet.
fn packet(text: &str) -> Result<Packet> {
    if text.starts_with('2') {
        return Ok(Packet::Ping);
    }
    let Some((kind, rest)) = text.split_once(NAMESPACE) else { return Ok(Packet::End(text.to_owned())) };
    let from = rest.find(['[', '{']).unwrap_or(rest.len());
    let (number, content) = rest.split_at(from);
    let value = || serde_json::from_str::<Value>(content).wrap_err_with(|| format!("an odd packet: {text}"));
    Ok(match kind {
        "40" => Packet::Connected,
        "42" => {
            let mut value = value()?;
            let name = value[0].as_str().ok_or_else(|| eyre!("an event without a name: {text}"))?.to_owned();
            Packet::Event(name, value[1].take())
        }
        "43" => Packet::Answer(number.parse().wrap_err("an answer without a number")?, value()?[0].take()),
        _ => Packet::End(text.to_owned()),
    })
}

async fn ask(gateway: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let exchange = async {
        let mut stream = TcpStream::connect(gateway).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {gateway}\r\nContent-Type: text/plain;charset=UTF-8\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(LARGEST).read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(WITHIN, exchange).await.wrap_err("the gateway does not answer")??;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_eyre("an answer without a body")?;
    ensure!(
        head.starts_with("HTTP/1.1 200"),
        "the gateway refuses: {}: {body}",
        head.lines().next().unwrap_or_default()
    );
    Ok(body.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packets_are_read_as_the_protocol_has_them() {
        let read = |text| packet(text).expect("a packet");
        assert_eq!(read("2"), Packet::Ping);
        assert_eq!(read("40/campaigns,{\"sid\":\"a\"}"), Packet::Connected);
        assert_eq!(
            read("43/campaigns,12[{\"success\":true}]"),
            Packet::Answer(12, json!({ "success": true }))
        );
        let event = read("42/campaigns,[\"campaign:status\",{\"eventId\":7},\"offset\"]");
        assert_eq!(event, Packet::Event("campaign:status".to_owned(), json!({ "eventId": 7 })));
        for end in ["1", "41/campaigns,", "44/campaigns,{\"message\":\"no\"}"] {
            assert_eq!(read(end), Packet::End(end.to_owned()));
        }
        assert!(packet("42/campaigns,[").is_err());
    }
}
