//! Clients that show a certificate, none, or another one; and clients that speak no TLS.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{net::SocketAddr, sync::Arc};

use ports::{BadCertificate, HandshakeError, Pem, Tls, client_name};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use testkit::Authority;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsConnector;

fn authority() -> Authority {
    Authority::new("an authority").unwrap()
}

/// Certificate and key of the authority for these names until the begin of this year.
fn sign(authority: &Authority, names: &[&str], year: i32) -> (String, String) {
    let signed = authority.server_of(names, (year, 1, 1)).unwrap();
    (signed.certificate, signed.key)
}

/// A client that trusts an authority, and perhaps shows a certificate.
fn client(
    trusted: &Authority,
    shown: Option<&(String, String)>,
    version: &'static SupportedProtocolVersion,
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.certificate().as_bytes()).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap(),
    };
    TlsConnector::from(Arc::new(config))
}

async fn connect(to: SocketAddr, client: TlsConnector) {
    let stream = TcpStream::connect(to).await.unwrap();
    // A client of TLS 1.3 learns with its first read that its certificate is refused.
    if let Ok(mut stream) = client.connect(ServerName::try_from("localhost").unwrap(), stream).await {
        let _ = stream.read(&mut [0]).await;
    }
}

/// The name of the client, or why it was refused.
async fn accepted(tls: &Tls, client: TlsConnector) -> Result<Option<String>, HandshakeError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serve =
        async { tls.accept(listener.accept().await.unwrap().0).await.map(|stream| client_name(&stream)) };
    tokio::join!(serve, connect(address, client)).0
}

#[tokio::test]
async fn a_client_without_a_certificate_of_the_authority_is_refused_for_its_reason() {
    let (ours, other) = (authority(), authority());
    let (certificate, key) = sign(&ours, &["localhost"], 4096);
    let authorities = ours.certificate();
    let pem = Pem {
        client_authorities: Some(authorities.as_bytes()),
        ..Pem::new(certificate.as_bytes(), key.as_bytes())
    };
    let tls = Tls::new(pem).unwrap();
    let known = sign(&ours, &["*.example.org", "proxy-a.example.org", "other.example.org"], 4096);
    for version in [&TLS12, &TLS13] {
        let shows = |shown: Option<&(String, String)>| client(&ours, shown, version);
        let name = accepted(&tls, shows(Some(&known))).await.unwrap();
        assert_eq!(name.as_deref(), Some("proxy-a.example.org"));
        let nameless = accepted(&tls, shows(Some(&sign(&ours, &["10.0.0.7"], 4096)))).await.unwrap();
        assert_eq!(nameless, None);
        assert!(matches!(accepted(&tls, shows(None)).await, Err(HandshakeError::NoCertificate)));
        let foreign = sign(&other, &["proxy-a.example.org"], 4096);
        assert!(matches!(accepted(&tls, shows(Some(&foreign))).await, Err(HandshakeError::Untrusted(_))));
        let expired = sign(&ours, &["proxy-a.example.org"], 2001);
        assert!(matches!(accepted(&tls, shows(Some(&expired))).await, Err(HandshakeError::Untrusted(_))));
        // The client that trusts another authority than that of the port.
        let trusts_other = client(&other, Some(&known), version);
        assert!(matches!(accepted(&tls, trusts_other).await, Err(HandshakeError::Tls(_))));
    }
    // The authorities are replaced with the certificate.
    let authorities = other.certificate();
    tls.replace(Pem { client_authorities: Some(authorities.as_bytes()), ..pem }).unwrap();
    assert!(matches!(
        accepted(&tls, client(&ours, Some(&known), &TLS13)).await,
        Err(HandshakeError::Untrusted(_))
    ));
    let bad = Pem { client_authorities: Some(b"no PEM"), ..pem };
    assert!(matches!(tls.replace(bad), Err(BadCertificate::NoCertificate)));
    assert!(accepted(&tls, client(&ours, Some(&sign(&other, &["a"], 4096)), &TLS13)).await.is_ok());
    // A port that asks for none takes each client, and knows no name.
    tls.replace(Pem { client_authorities: None, ..pem }).unwrap();
    assert_eq!(accepted(&tls, client(&ours, Some(&known), &TLS13)).await.unwrap(), None);
}

#[tokio::test]
async fn what_is_no_tls_and_what_ends_early_are_told_apart() {
    let ours = authority();
    let (certificate, key) = sign(&ours, &["localhost"], 4096);
    let tls = Tls::new(Pem::new(certificate.as_bytes(), key.as_bytes())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    for (sent, is_expected) in [
        (
            &b"{\"listen_address\": 7}\n"[..],
            (|error| matches!(error, HandshakeError::NoTls)) as fn(_) -> bool,
        ),
        (b"", |error| matches!(error, HandshakeError::Ended(_))),
        (b"\x16\x03\x01\x01", |error| matches!(error, HandshakeError::Ended(_))),
    ] {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(sent).await.unwrap();
        client.shutdown().await.unwrap();
        let error = tls.accept(listener.accept().await.unwrap().0).await.map(drop).unwrap_err();
        let shown = format!("{error:?}");
        assert!(is_expected(error), "{sent:?}: {shown}");
    }
}
