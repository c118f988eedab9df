//! A client that expects one certificate, against servers that have it, another one, a copy of it, or no TLS.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_server::{ConnectError, connect};
use ports::{Pem, Tls, expires};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ServerConfig,
    crypto::ring::{default_provider, sign::any_supported_type},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

/// A certificate for a name that is no address of this machine, and its key. It has expired.
fn certificate() -> (String, String) {
    let mut params = CertificateParams::new(vec!["tracker.example".to_owned()]).unwrap();
    params.not_after = date_time_ymd(2001, 9, 9);
    params.not_before = date_time_ymd(2000, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// Shows a certificate, and signs with a key that need not be that of it.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

async fn server(
    certificate: &str,
    key: &str,
    version: &'static rustls::SupportedProtocolVersion,
) -> SocketAddr {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = any_supported_type(&PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    let shows = Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], key))));
    let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(shows);
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client says why, and closes.
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

async fn ask(address: SocketAddr, certificates: &str) -> Result<(), ConnectError> {
    let stream = TcpStream::connect(address).await.unwrap();
    connect(stream, certificates.as_bytes()).await.map(drop)
}

#[tokio::test]
async fn the_expected_certificate_is_trusted_whatever_it_says_and_no_other_one_is() {
    let ((ours, key), (other, others_key)) = (certificate(), certificate());
    for version in [&TLS12, &TLS13] {
        let (right, wrong) = (server(&ours, &key, version).await, server(&other, &others_key, version).await);
        assert!(ask(right, &ours).await.is_ok());
        // Only the first one of a file is that of the server.
        assert!(ask(right, &format!("{ours}{other}")).await.is_ok());
        for (address, expected) in
            [(wrong, ours.clone()), (right, other.clone()), (right, format!("{other}{ours}"))]
        {
            assert!(matches!(ask(address, &expected).await, Err(ConnectError::OtherCertificate)));
        }
        // Certificates are public: a server that shows a copy has not its key.
        let copied = server(&ours, &others_key, version).await;
        assert!(matches!(ask(copied, &ours).await, Err(ConnectError::Handshake(_))));
        assert!(matches!(ask(right, "no PEM").await, Err(ConnectError::Certificate(_))));
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told() {
    let (ours, _) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    assert!(matches!(ask(address, &ours).await, Err(ConnectError::NoTls)));
}

#[test]
fn the_end_of_the_first_certificate_is_read() {
    let (ended, key) = certificate();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) - Duration::from_secs(6_400);
    assert_eq!(expires(ended.as_bytes()), Some(end));
    let key_of_authority = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    authority.not_after = date_time_ymd(2001, 9, 9);
    // As `openssl req -x509` makes them: an authority's certificate that a server shows itself.
    let authority = authority.self_signed(&key_of_authority).unwrap().pem();
    assert_eq!(expires(authority.as_bytes()), Some(end));
    let never = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    assert_eq!(expires(format!("{ended}{never}").as_bytes()), Some(end));
    let mut params = CertificateParams::default();
    params.not_after = date_time_ymd(9999, 12, 31);
    let late = params.self_signed(&KeyPair::from_pem(&key).unwrap()).unwrap().pem();
    assert!(expires(late.as_bytes()).is_some_and(|end| end > SystemTime::now()));
    assert_eq!(expires(b"no PEM"), None);
    // Such a certificate can be used all the same: an operator decides when it is replaced.
    assert!(Tls::http(Pem::new(ended.as_bytes(), key.as_bytes())).is_ok());
}
