//! TLS of a port, with a certificate that can be replaced.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
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
    let bad = |part| move |source| BadCertificate::Pem { part, source };
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates)
        .collect::<Result<_, _>>()
        .map_err(bad("the certificate"))?;
    if chain.is_empty() {
        return Err(BadCertificate::NoCertificate);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(bad("the key"))?;
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
