//! The sender by TLS, against a receiver that asks for certificates.

#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used, missing_docs)] // A test may panic.

use std::{
    io::{self, BufRead, BufReader},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use peer_snapshots::{BadTls, ClientTls, Destination, Heartbeat, Message, Secret, Sender, read};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use testkit::Authority;

const SOON: Duration = Duration::from_secs(60);

fn authority() -> Authority {
    Authority::new("an authority").unwrap()
}

/// Certificate and key of the authority for this name.
fn sign(authority: &Authority, name: &str) -> (String, String) {
    let signed = authority.server_of(&[name], (4096, 1, 1)).unwrap();
    (signed.certificate, signed.key)
}

struct Receiver {
    listener: TcpListener,
    config: Arc<ServerConfig>,
}

type Lines = BufReader<StreamOwned<ServerConnection, TcpStream>>;

impl Receiver {
    /// A receiver that asks for a certificate of the authority, and shows one for `localhost`.
    fn new(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.certificate().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let (certificate, key) = sign(authority, "localhost");
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(clients.build().unwrap())
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap(), config: Arc::new(config) }
    }

    fn sender(&self, tls: ClientTls) -> Sender {
        let mut destination = Destination::new(self.listener.local_addr().unwrap().to_string());
        (destination.tls, destination.secret) = (Some(tls), Secret::new("opensesame"));
        let shown = format!("{destination:?}");
        assert!(!shown.contains("PRIVATE") && !shown.contains("opensesame"), "{shown}");
        Sender::start(destination).unwrap()
    }

    /// Accepts a connection and reads its secret, if it is let in.
    fn accept(&self) -> io::Result<Lines> {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let connection = ServerConnection::new(self.config.clone()).unwrap();
        let mut lines = BufReader::new(StreamOwned::new(connection, stream));
        let secret = line(&mut lines)?;
        assert_eq!(secret, "opensesame\n");
        Ok(lines)
    }
}

fn line(lines: &mut Lines) -> io::Result<String> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    Ok(line)
}

fn message(lines: &mut Lines) -> Message {
    read(line(lines).unwrap().trim_end().as_bytes()).unwrap()
}

fn heartbeat(timestamp: u64) -> Message {
    Message::Heartbeat(Heartbeat { listen_address: "here".to_owned(), timestamp })
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < until, "{what}: not within {SOON:?}");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_sender_with_a_certificate_is_let_in_and_sends_again_after_the_end_of_its_connection() {
    let authority = authority();
    let receiver = Receiver::new(&authority);
    let (certificate, key) = sign(&authority, "proxy-a");
    let pem = authority.certificate();
    let tls =
        ClientTls::with_certificate("localhost", pem.as_bytes(), certificate.as_bytes(), key.as_bytes());
    let sender = receiver.sender(tls.unwrap());
    sender.send(heartbeat(1));
    let mut lines = receiver.accept().unwrap();
    assert_eq!(message(&mut lines), heartbeat(1));
    sender.send(heartbeat(2));
    assert_eq!(message(&mut lines), heartbeat(2));
    assert!(sender.is_connected());
    drop(lines);
    // The end is found before the next message is written, so it is not lost.
    sender.send(heartbeat(3));
    let mut lines = receiver.accept().unwrap();
    assert_eq!(message(&mut lines), heartbeat(3));
    assert_eq!(sender.counts().connections, 2);
    drop(sender);
    // It says goodbye: an end without one would be an error.
    assert_eq!(line(&mut lines).unwrap(), "");
}

#[test]
fn a_sender_sends_nothing_to_a_receiver_that_it_does_not_trust() {
    let (authority, other) = (authority(), authority());
    let receiver = Receiver::new(&authority);
    let (certificate, key) = sign(&authority, "proxy-a");
    for (name, trusted) in [("other.example", &authority), ("localhost", &other)] {
        let pem = trusted.certificate();
        let tls = ClientTls::with_certificate(name, pem.as_bytes(), certificate.as_bytes(), key.as_bytes());
        let sender = receiver.sender(tls.unwrap());
        sender.send(heartbeat(1));
        assert!(receiver.accept().is_err(), "{name}");
        wait_until("a failure", || sender.counts().failures > 0);
        assert_eq!((sender.counts().sent, sender.counts().connections), (0, 0));
    }
}

#[test]
fn certificates_that_can_not_be_used_are_refused_at_once() {
    let authority = authority();
    let (certificate, key) = sign(&authority, "proxy-a");
    let (other, _) = sign(&authority, "proxy-b");
    let pem = authority.certificate();
    let with = |certificate: &str, key: &str| {
        ClientTls::with_certificate("localhost", pem.as_bytes(), certificate.as_bytes(), key.as_bytes())
    };
    assert!(matches!(ClientTls::new("not a name", pem.as_bytes()), Err(BadTls::Name)));
    assert!(matches!(ClientTls::new("localhost", b"no PEM"), Err(BadTls::NoCertificate(_))));
    assert!(matches!(with(&certificate, "no PEM"), Err(BadTls::Pem { .. })));
    assert!(matches!(with(&other, &key), Err(BadTls::Unusable(_))));
    assert!(ClientTls::new("127.0.0.1", pem.as_bytes()).is_ok() && with(&certificate, &key).is_ok());
}
