//! TLS of a port, with a certificate that can be replaced.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::{ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::handshake::HandshakeError;

/// A certificate or key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificate {
    /// The text holds no certificate in PEM form.
    #[error("no certificate in PEM form")]
    NoCertificate,
    /// A part of the text is no PEM, or the key is missing.
    #[error("{part} is no PEM")]
    Pem {
        /// Which text.
        part: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Key and certificate don't fit, or are of a kind that is not supported.
    #[error("certificate and key can't be used together")]
    Unusable(#[source] rustls::Error),
    /// A certificate of the clients' authorities can't be that of an authority.
    #[error("a certificate of the clients' authorities can't be used")]
    Authority(#[source] rustls::Error),
    /// The authorities of clients can't be used.
    #[error("the clients' authorities can't be used")]
    Authorities(#[source] VerifierBuilderError),
}

/// What a port shows to its clients and asks them for, in PEM form.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// Its certificate, with those of its authorities.
    pub certificates: &'a [u8],
    /// The key of the certificate.
    pub key: &'a [u8],
    /// The authorities of clients: each client has to show a certificate of one of them. `None` asks for none.
    pub client_authorities: Option<&'a [u8]>,
}

impl<'a> Pem<'a> {
    /// A certificate and its key, for a port that asks its clients for none.
    #[must_use]
    pub fn new(certificates: &'a [u8], key: &'a [u8]) -> Self {
        Self { certificates, key, client_authorities: None }
    }
}

/// TLS 1.2 and 1.3 of a port. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The names of protocols that clients may ask for; none where they name none.
    protocols: &'static [&'static [u8]],
    config: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// TLS of a port with a protocol that has no name.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn new(pem: Pem<'_>) -> Result<Self, BadCertificate> {
        Self::of(&[], pem)
    }

    /// TLS of a port for HTTP/1.1.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn http(pem: Pem<'_>) -> Result<Self, BadCertificate> {
        Self::of(&[b"http/1.1"], pem)
    }

    fn of(protocols: &'static [&'static [u8]], pem: Pem<'_>) -> Result<Self, BadCertificate> {
        Ok(Self { protocols, config: Arc::new(RwLock::new(Arc::new(config(protocols, pem)?))) })
    }

    /// Replaces certificate, key and authorities for connections from now on.
    ///
    /// # Errors
    /// [`BadCertificate`]; then the former ones stay.
    pub fn replace(&self, pem: Pem<'_>) -> Result<(), BadCertificate> {
        let config = Arc::new(config(self.protocols, pem)?);
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Makes the handshake of a client that has just connected. It may take as long as the client likes: the caller limits its time.
    ///
    /// # Errors
    /// [`HandshakeError`].
    pub async fn accept(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, HandshakeError> {
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner).clone();
        TlsAcceptor::from(config).accept(stream).await.map_err(HandshakeError::from)
    }
}

fn config(protocols: &[&[u8]], pem: Pem<'_>) -> Result<ServerConfig, BadCertificate> {
    let chain = chain(pem.certificates)?;
    let key = PrivateKeyDer::from_pem_slice(pem.key)
        .map_err(|source| BadCertificate::Pem { part: "the key", source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = match pem.client_authorities {
        None => WebPkiClientVerifier::no_client_auth(),
        Some(authorities) => {
            WebPkiClientVerifier::builder_with_provider(Arc::new(trusted(authorities)?), provider.clone())
                .build()
                .map_err(BadCertificate::Authorities)?
        }
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(BadCertificate::Unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(BadCertificate::Unusable)?;
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// The authorities of a text, at least one.
fn trusted(authorities: &[u8]) -> Result<RootCertStore, BadCertificate> {
    let mut roots = RootCertStore::empty();
    for authority in chain(authorities)? {
        roots.add(authority).map_err(BadCertificate::Authority)?;
    }
    Ok(roots)
}

/// The certificates of a text, at least one.
///
/// # Errors
/// [`BadCertificate::NoCertificate`] and [`BadCertificate::Pem`].
pub fn chain(certificates: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
    let bad = |source| BadCertificate::Pem { part: "the certificate", source };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificates).collect::<Result<_, _>>().map_err(bad)?;
    if chain.is_empty() { Err(BadCertificate::NoCertificate) } else { Ok(chain) }
}

/// When the first of these certificates expires; `None` if it never does, or can't be read.
#[must_use]
pub fn expires(certificates: &[u8]) -> Option<SystemTime> {
    /// The last second of the year 9999, which stands for never.
    const NEVER: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(253_402_300_799));
    let chain = chain(certificates).ok()?;
    let first = ParsedCertificate::try_from(chain.first()?).ok()?;
    let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms.all;
    // The check of a chain names the date where the certificate is too old, and looks at the date first.
    let checked =
        verify_server_cert_signed_by_trust_anchor(&first, &RootCertStore::empty(), &[], NEVER, algorithms);
    match checked {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(not_after.as_secs()))
        }
        _ => None,
    }
}
