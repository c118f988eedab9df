//! TLS of a port, with a certificate that can be replaced.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use rustls::{
    CertificateError, RootCertStore, ServerConfig,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use tokio_rustls::TlsAcceptor;

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
}

/// The certificate of a port. Clones share it.
#[derive(Clone, Debug)]
pub struct Tls(Arc<RwLock<Arc<ServerConfig>>>);

impl Tls {
    /// TLS 1.2 and 1.3 with this certificate chain and key, both in PEM form.
    ///
    /// # Errors
    /// [`BadCertificate`].
    pub fn new(certificates: &[u8], key: &[u8]) -> Result<Self, BadCertificate> {
        Ok(Self(Arc::new(RwLock::new(Arc::new(config(certificates, key)?)))))
    }

    /// Replaces certificate and key for connections from now on.
    ///
    /// # Errors
    /// [`BadCertificate`]; then the former ones stay.
    pub fn replace(&self, certificates: &[u8], key: &[u8]) -> Result<(), BadCertificate> {
        let config = Arc::new(config(certificates, key)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn config(certificates: &[u8], key: &[u8]) -> Result<ServerConfig, BadCertificate> {
    let chain = chain(certificates)?;
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|source| BadCertificate::Pem { part: "the key", source })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(BadCertificate::Unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(BadCertificate::Unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates of a text, at least one.
pub(crate) fn chain(certificates: &[u8]) -> Result<Vec<CertificateDer<'static>>, BadCertificate> {
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
