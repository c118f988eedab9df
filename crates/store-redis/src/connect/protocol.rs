//! Finds out what speaks at the addresses of a deployment, when a connection to one of them has failed: Redis, a sentinel, TLS, HTTP.
//!
//! It sends no credentials, and to a server of another kind nothing but a line that it refuses.

use std::{io, sync::Arc, time::Duration};

use redis::{ConnectionAddr, ConnectionInfo};
use rustls::{ClientConfig, ClientConnection, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{Servers, Store, stream::tcp};

/// The question. A server without the command says so before it asks for a login. Two line ends, which end the request for a web
/// server too.
const QUESTION: &[u8] = b"SENTINEL MYID\r\n\r\n";
/// The most bytes of an answer that are read.
const MOST: usize = 512;
/// The first bytes of records of TLS: a handshake, an alert.
const RECORDS: [u8; 2] = [0x16, 0x15];

/// What answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// A Redis server without TLS.
    Redis,
    /// A sentinel without TLS.
    Sentinel,
    /// A Redis server or a sentinel, without TLS, which refuses to answer.
    Either,
    /// A server that expects TLS.
    Tls,
    /// A web server.
    Http,
    /// Nothing, or something else.
    Unknown,
}

/// An address of the settings, and what answers there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Host and port.
    pub server: String,
    /// Whether the settings name it as a sentinel.
    pub is_sentinel: bool,
    /// Whether the settings use TLS.
    pub uses_tls: bool,
    /// What answers.
    pub found: Protocol,
}

impl Store {
    /// What speaks at each address of the settings. Sockets of Unix are left out.
    pub async fn protocols(&self) -> Vec<Spoken> {
        let (sentinels, nodes): (&[ConnectionInfo], &[ConnectionInfo]) = match &self.settings.servers {
            Servers::Single(server) => (&[], std::slice::from_ref(server)),
            Servers::Cluster(nodes) => (&[], nodes),
            Servers::Sentinel { sentinels, .. } => (sentinels, &[]),
        };
        let asked =
            sentinels.iter().map(|server| (server, true)).chain(nodes.iter().map(|server| (server, false)));
        let within = self.settings.connect_timeout;
        let asked = asked.filter_map(|(server, is_sentinel)| {
            let (host, port, uses_tls) = match server.addr() {
                ConnectionAddr::Tcp(host, port) => (host, *port, false),
                ConnectionAddr::TcpTls { host, port, .. } => (host, *port, true),
                _ => return None,
            };
            Some(async move {
                let (server, found) = (format!("{host}:{port}"), protocol(host, port, within).await);
                Spoken { server, is_sentinel, uses_tls, found }
            })
        });
        futures_util::future::join_all(asked).await
    }
}

/// What speaks at this address.
async fn protocol(host: &str, port: u16, within: Duration) -> Protocol {
    let plain = answer(host, port, QUESTION, within).await.unwrap_or_default();
    match plain.as_slice() {
        [b'+' | b'-' | b'$', ..] => {
            let text = String::from_utf8_lossy(&plain).to_lowercase();
            return if text.contains("unknown command") {
                Protocol::Redis
            } else if plain[0] == b'$' || text.starts_with("-noauth") || text.starts_with("-noperm") {
                Protocol::Sentinel
            } else {
                // Such as one with too many clients, or in protected mode.
                Protocol::Either
            };
        }
        [b'H', b'T', b'T', b'P', ..] | [b'<', ..] => return Protocol::Http,
        _ => {}
    }
    let hello = hello().unwrap_or_default();
    let answered = answer(host, port, &hello, within).await.unwrap_or_default();
    if answered.first().is_some_and(|first| RECORDS.contains(first)) {
        Protocol::Tls
    } else {
        Protocol::Unknown
    }
}

/// The first bytes of the answer to these bytes.
async fn answer(host: &str, port: u16, question: &[u8], within: Duration) -> io::Result<Vec<u8>> {
    let asking = async {
        let mut stream: TcpStream = tcp(host, port).await?;
        stream.write_all(question).await?;
        let mut read = vec![0; MOST];
        let size = stream.read(&mut read).await?;
        read.truncate(size);
        Ok(read)
    };
    tokio::time::timeout(within, asking).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// The first message of a TLS client. No handshake follows, so that no authority is needed.
fn hello() -> io::Result<Vec<u8>> {
    // An error means that one is installed already; without one the library panics.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    let name = ServerName::try_from("redis.invalid").map_err(io::Error::other)?;
    let mut client = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut message = Vec::new();
    client.write_tls(&mut message)?;
    Ok(message)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is found where every connection is answered so.
    async fn found(answer: &'static [u8]) -> Protocol {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let server = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let mut question = [0; 64];
                let _ = stream.read(&mut question).await;
                let _ = stream.write_all(answer).await;
            }
        });
        let found = protocol("127.0.0.1", port, Duration::from_secs(10)).await;
        server.abort();
        found
    }

    #[tokio::test]
    async fn the_first_bytes_of_an_answer_tell_the_protocol() {
        for (answer, protocol) in [
            (&b"-ERR unknown command 'SENTINEL', with args beginning with: 'MYID'\r\n"[..], Protocol::Redis),
            (b"-ERR unknown command `SENTINEL`\r\n", Protocol::Redis),
            (b"$40\r\n0123456789\r\n", Protocol::Sentinel),
            (b"-NOAUTH Authentication required.\r\n", Protocol::Sentinel),
            (b"-ERR max number of clients reached\r\n", Protocol::Either),
            (b"-DENIED Redis is running in protected mode because\r\n", Protocol::Either),
            (b"-LOADING Redis is loading the dataset in memory\r\n", Protocol::Either),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", Protocol::Http),
            (b"<!DOCTYPE HTML>", Protocol::Http),
            (b"\x15\x03\x01\x00\x02\x02\x46", Protocol::Tls),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Protocol::Unknown),
            (b"", Protocol::Unknown),
        ] {
            assert_eq!(found(answer).await, protocol, "{}", String::from_utf8_lossy(answer));
        }
    }
}
